"""A group of replicas on real folders and sockets in one process, without servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chaos.live.cluster import free_ports
from cluster.replication.build import OWN_BUILD
from cluster.replication.core import DiskPolicy
from cluster.replication.disk_space import DiskSpace
from cluster.replication.founding_record import claim_folder
from cluster.replication.group_settings import GroupSettings
from cluster.replication.peers.trust import trust_loopback
from cluster.replication.replica import Replica
from cluster.replication.surroundings import Surroundings
from cluster.storage.directory import DataDirectory
from taskq.errors import Refusal
from taskq.levels import Build
from taskq.machine.settings import Settings
from tests.integration.replication.node import Client, holds

IDS = ("n1", "n2", "n3")
# A machine with ten other things to do takes its time. Seconds.
WAIT_SECS = 15.0


class Members:
    """Three members below `home`. `replicas`: those that run now; `addresses`: where they listen
    for each other; `builds`: what they are when they start, where that is not this version."""

    def __init__(self, home: Path, **policy: Any) -> None:
        self.home = home
        ports = free_ports(len(IDS))
        self.builds: dict[str, Build] = {}
        self.addresses = {one: f"127.0.0.1:{port}" for one, port in zip(IDS, ports, strict=True)}
        self._ports = dict(zip(IDS, ports, strict=True))
        self._policy = policy
        self._directories: dict[str, DataDirectory] = {}
        self.replicas: dict[str, Replica] = {}

    def folder(self, node_id: str) -> Path:
        """The data folder of a member."""
        return self.home / node_id

    async def start(self, *node_ids: str) -> None:
        """Starts members; all of them where none is named."""
        for node_id in node_ids or IDS:
            directory = DataDirectory.open(self.folder(node_id), node_id)
            self._directories[node_id] = directory
            claim_folder(directory, member=True)
            replica = Replica(
                directory,
                DiskPolicy(
                    self._policy.get("sync_interval_secs", 0.0),
                    self._policy.get("checkpoint_interval_secs", 1e9),
                    self._policy.get("checkpoint_size", 1 << 40),
                ),
                DiskSpace(directory.free_bytes, 0),
                Settings(),
                compact_secs=None,
                group=GroupSettings(
                    *(node_id, self.addresses, "127.0.0.1", self._ports[node_id]),
                    trust_loopback(),
                ),
                surroundings=Surroundings(
                    aside=asyncio.to_thread, build=self.builds.get(node_id, OWN_BUILD)
                ),
            )
            try:
                await replica.start()
            except BaseException:
                directory.close()
                raise
            self.replicas[node_id] = replica

    async def stop(self, *node_ids: str) -> None:
        """Stops members cleanly; all that run where none is named."""
        for node_id in node_ids or tuple(self.replicas):
            replica = self.replicas.pop(node_id)
            try:
                await replica.stop()
            finally:
                self._directories.pop(node_id).close()

    async def leader(self) -> Replica:
        """Waits for one that leads."""
        await until(lambda: any(one.is_leader() for one in self.replicas.values()))
        return next(one for one in self.replicas.values() if one.is_leader())

    async def follower(self) -> Replica:
        """Waits for one that follows: the last of a new group may not have joined it yet."""
        leader = await self.leader()

        def following() -> list[Replica]:
            others = (one for one in self.replicas.values() if one is not leader)
            return [one for one in others if one._core is not None]

        await until(following)
        return following()[0]

    async def submit(self, *numbers: int, size: int = 0) -> None:
        """Submits each until it is acknowledged."""
        for number in numbers:
            while True:
                answer = await Client(await self.leader()).submit(number, size)
                if not isinstance(answer, Refusal):
                    break
                await asyncio.sleep(0.01)

    async def all_hold(self, *numbers: int) -> None:
        """Waits until every running member has these tasks and votes."""

        def done() -> bool:
            return all(
                one.unavailable() is None
                and one._core is not None
                and not one._core.raft.loss
                and all(holds(one, number) for number in numbers)
                for one in self.replicas.values()
            )

        await until(done)


async def until(condition: Any) -> None:
    """Waits for it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_SECS
    while not condition():
        assert loop.time() < end, "it never happened"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def members(home: Path, **policy: Any) -> AsyncIterator[Members]:
    """A whole group; what still runs is stopped at the end."""
    group = Members(home, **policy)
    try:
        await group.start()
        await group.leader()
        yield group
    finally:
        await group.stop()
