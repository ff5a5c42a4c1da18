"""Several nodes on this machine, as `taskq up --nodes 3` and `taskq demo` run them.

A node that ends by itself is started again, after a pause that grows while it keeps ending; one
that never lives for long is given up. The others go on meanwhile: that is what a cluster is for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from taskq.cli.local_folder import claim, free_ports, log_of, names, secret_of
from taskq.cli.process import LOCAL_HOST, Broker, Member
from taskq.client import Client
from taskq.commands import GetCluster
from taskq.errors import TaskqError
from taskq.results import ClusterStatus

# Pauses before a node is started again, in seconds; the last one again and again.
PAUSES_SECS = (0.2, 1.0, 2.0, 5.0)
# A node that lived so long has nothing to do with how it ended before.
LIVED_SECS = 30.0
# So many short lives in a row, and a node is given up.
SHORT_LIVES_MAX = 6
ASK_TIMEOUT_SECS = 1.0


class Node:
    """One node: the process that runs or ran last, and when the next one starts."""

    def __init__(self, start: Callable[[], Broker]) -> None:
        self._start = start
        self.process = start()
        self._started = time.monotonic()
        self._again_at: float | None = None
        self._killed = False
        self.short_lives = 0

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def given_up(self) -> bool:
        return self.short_lives >= SHORT_LIVES_MAX

    def look(self, now: float) -> list[str]:
        """Sees to it that it runs; what happened, in sentences."""
        if self.given_up or self.process.status is None:
            return []
        if self._again_at is None:
            return [self._ended(now)]
        if now < self._again_at:
            return []
        self.process, self._started, self._again_at = self._start(), now, None
        self._killed = False
        return [f"{self.name} is started again."]

    def kill(self) -> None:
        """As a crash would; it is started again like after any other."""
        self._killed = True
        self.process.kill()

    def _ended(self, now: float) -> str:
        lived = now - self._started
        self.short_lives = 1 if lived > LIVED_SECS else self.short_lives + 1
        pause = PAUSES_SECS[min(self.short_lives, len(PAUSES_SECS)) - 1]
        self._again_at = now + pause
        if self._killed:
            return f"{self.name} was killed."
        words = self.process.last_words(3)
        text = f"{self.name} ended ({_how(self.process.status)})"
        if self.given_up:
            text += f" {self.short_lives} times and is not started again"
        log = f" Its log: {self.process.log}." if self.process.log else ""
        return f"{text}.{log}" + (f" It ends with:\n{words}" if words else "")


def _how(status: int | None) -> str:
    return f"signal {-status}" if status is not None and status < 0 else f"exit {status}"


class LocalCluster:
    """`count` nodes with their data below `data`, listening on this machine only.

    `ports` are those for clients; `scratch` is a folder for what lives no longer than they do.
    `held` makes a block that no signal interrupts. Raises Failure.
    """

    def __init__(
        self,
        data: Path,
        scratch: Path,
        ports: list[int],
        *,
        held: Callable[[], AbstractContextManager[None]],
        log_level: str = "info",
        monitoring_ports: list[int] | None = None,
        remove_scratch: bool = False,
    ) -> None:
        count = len(ports)
        claim(data, count)
        self._held = held
        secret = secret_of(data)
        raft_ports = free_ports(count, set(ports) | set(monitoring_ports or ()))
        ids = names(count)
        peers = ",".join(
            f"{name}={LOCAL_HOST}:{port}" for name, port in zip(ids, raft_ports, strict=True)
        )

        def starter(place: int) -> Callable[[], Broker]:
            name = ids[place]

            def start() -> Broker:
                return Broker(
                    data / name,
                    scratch,
                    ports[place],
                    log=log_of(data, name),
                    log_level=log_level,
                    monitoring_port=0 if monitoring_ports is None else monitoring_ports[place],
                    remove_scratch=remove_scratch,
                    member=Member(name, raft_ports[place], peers, secret),
                )

            return start

        self.addresses = {
            name: f"{LOCAL_HOST}:{port}" for name, port in zip(ids, ports, strict=True)
        }
        self.nodes: list[Node] = []
        try:
            for place in range(count):
                self.nodes.append(Node(starter(place)))
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """Where clients find them."""
        return "taskq://" + ",".join(self.addresses.values())

    def wait_ready(self) -> dict[str, str]:
        """Node id -> address of its metrics, once all of them listen. Raises Failure."""
        return {node.name: node.process.wait_ready()["monitoring"] for node in self.nodes}

    def look(self) -> list[str]:
        """Starts again what has ended; what happened since the last look, in sentences."""
        with self._held():
            return [text for node in self.nodes for text in node.look(time.monotonic())]

    @property
    def given_up(self) -> bool:
        """No node runs or will run."""
        return all(node.given_up for node in self.nodes)

    def kill(self, name: str) -> None:
        """Kills a node, as a crash would."""
        next(node for node in self.nodes if node.name == name).kill()

    def stop(self) -> None:
        """Asks all of them to end, and waits until they have."""
        for node in self.nodes:
            node.process.terminate()
        for node in self.nodes:
            node.process.stop()


def status_of(client: Client) -> ClusterStatus | None:
    """What the node at hand knows of its cluster; None where nobody answers in time."""
    try:
        status: ClusterStatus = client.call(GetCluster(stale=True), ASK_TIMEOUT_SECS)
    except TaskqError:
        return None
    return status
