"""What a node takes from the machine that it runs on. The simulator hands in its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.replication.build import OWN_BUILD
from cluster.replication.peers.network import PeerNetwork
from taskq.levels import Build


class Network(Protocol):
    """The connections with the other nodes; see `PeerNetwork`."""

    async def start(self, host: str, port: int) -> int: ...
    async def stop(self) -> None: ...
    def set_peers(
        self, addresses: Mapping[str, str], spare: Mapping[str, str], anew: Collection[str]
    ) -> None: ...
    def set_cluster(self, cluster_id: str) -> None: ...
    def send(self, peer_id: str, message: bytes) -> bool: ...
    def flush(self) -> None: ...
    def connected(self) -> set[str]: ...
    def heard_from(self) -> set[str]: ...


def _thread(name: str) -> Executor:
    return ThreadPoolExecutor(1, name)


def _at_once(work: Callable[[], Any]) -> asyncio.Future[Any]:
    done = asyncio.get_running_loop().create_future()
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001  # as an executor hands on every error
        done.set_exception(error)
    return done


@dataclass(frozen=True)
class Surroundings:
    """Clocks in seconds; `thread_secs`: the processor time of the thread that asks.

    `executor(name)` makes one whose tasks run one after the other; `network` is called as
    `PeerNetwork` is. `aside(work)`: does what blocks for long, on the loop or, so that it turns
    meanwhile, elsewhere."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    thread_secs: Callable[[], float] = time.thread_time
    random: random.Random = field(default_factory=random.Random)
    executor: Callable[[str], Executor] = _thread
    network: Callable[..., Network] = PeerNetwork
    aside: Callable[[Callable[[], Any]], Awaitable[Any]] = _at_once
    build: Build = OWN_BUILD
