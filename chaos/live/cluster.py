"""A cluster of real nodes, each a process of its own with folder, ports and log of its own."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from chaos.live.asking import ask
from chaos.live.ground import Ground
from chaos.live.node import LiveNode, NodeDied
from taskq.commands import GetCluster
from taskq.errors import TaskqError
from taskq.results import ClusterStatus, MemberRole, MemberView

# Below the ports that the system gives to outgoing connections: one of those could take the port
# of a node that is down.
PORTS = range(12_000, 32_000)
SECRET = "of this experiment only"
# How often to ask who leads.
LOOK_SECS = 0.02
WHOLE_SECS = 60.0
# Under load a follower is always some entries behind; an entry holds up to 1,000 tasks.
LAG_COUNT_MAX = 20
_VOTING = (MemberRole.LEADER.value, MemberRole.FOLLOWER.value)


class NotWhole(Exception):
    """The cluster did not come to where it should be in time; the message says what was there."""


class LiveCluster:
    """`count` members n1, n2 ... with folders below `home`, on `ground`: else as processes on
    127.0.0.1. Not running until `start`.

    `settings`: of every node, beside folders and ports. Kills all that it started, and closes the
    ground, when its block ends.
    """

    def __init__(
        self,
        home: Path,
        count: int = 3,
        settings: Mapping[str, Any] | None = None,
        ground: Ground | None = None,
    ) -> None:
        self._home = home
        self.ground = ground or Ground()
        names = [f"n{number}" for number in range(1, count + 1)]
        ports = free_ports(2 * count)
        self.raft_ports = dict(zip(names, ports[count:], strict=True))
        self._ports = dict(zip(names, ports, strict=False))
        self._settings = settings or {}
        self.paused: set[str] = set()
        self.key: str | None = None  # with which the nodes are asked how they are
        self.ground.prepare(names)
        self.nodes = {name: self.make(name) for name in names}

    def make(
        self, name: str, settings: Mapping[str, Any] | None = None, home: Path | None = None
    ) -> LiveNode:
        """A member as it should be, but for `settings` and `home`; not running, and not taken into
        `nodes`."""
        where = ((one, self.ground.peer_host(one), port) for one, port in self.raft_ports.items())
        peers = ",".join(f"{one}={host}:{port}" for one, host, port in where)
        raft = {
            "raft.enabled": True,
            "raft.node_id": name,
            "raft.port": self.raft_ports[name],
            "raft.peers": peers,
            "raft.secret": SECRET,
        }
        found = {**raft, **self._settings, **(settings or {})}
        return self.ground.node(name, home or self._home / name, found, self._ports[name])

    def spare(self, name: str) -> LiveNode:
        """A node that is no member yet and knows the others; not running, and not in `nodes`."""
        if name not in self.raft_ports:
            self._ports[name], self.raft_ports[name] = free_ports(2)
            self.ground.prepare([name])
        return self.make(name)

    # --- addresses --------------------------------------------------------------------------------

    @property
    def urls(self) -> list[str]:
        """A URL for each node: that node first, then the others."""
        addresses = [f"{node.host}:{node.port}" for node in self.nodes.values()]
        turns = (addresses[place:] + addresses[:place] for place in range(len(addresses)))
        return ["taskq://" + ",".join(turn) for turn in turns]

    @property
    def url(self) -> str:
        """All nodes."""
        return self.urls[0]

    # --- single nodes -----------------------------------------------------------------------------

    def equip(self, seed: int = 1) -> None:
        """Puts a disk that can fail in front of each node's folder, before `start`: some nemeses
        need it. Raises NoCompiler, OSError."""
        for number, node in enumerate(self.nodes.values()):
            node.equip(seed + number)

    def start(self, names: Iterable[str] = ()) -> None:
        """Starts all nodes, or those of `names`, and does not wait."""
        for name in names or self.nodes:
            self.nodes[name].spawn()

    def kill(self, *names: str) -> None:
        """SIGKILL, to all of them as near to at once as can be; paused ones, too."""
        for name in names:
            self.nodes[name].kill_soon()
        for name in names:
            self.nodes[name].kill()
        self.paused -= set(names)

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        self.nodes[name].pause()
        self.paused.add(name)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self.nodes[name].resume()
        self.paused.discard(name)

    def wipe(self, name: str) -> None:
        """Removes the folder of a node that does not run, as a new disk would."""
        assert not self.nodes[name].running, "a node that runs holds its folder"
        shutil.rmtree(self.nodes[name].folder)
        disk = self.nodes[name].disk
        if disk is not None:
            disk.forget()

    # --- what they say ----------------------------------------------------------------------------

    async def ask(self, name: str, *commands: Any, timeout_secs: float = 2.0) -> list[Any]:
        """The answers of this node itself. Raises TaskqError."""
        node = self.nodes[name]
        place = (node.host, node.port)
        return await ask(*place, *commands, timeout_secs=timeout_secs, key=self.key)

    async def status(self, name: str, *, timeout_secs: float = 1.0) -> ClusterStatus | None:
        """What this node itself knows; None where it does not answer. Raises NodeDied."""
        node = self.nodes[name]
        if name in self.paused or not node.running:
            return None
        try:
            question = GetCluster(stale=True)
            (status,) = await self.ask(name, question, timeout_secs=timeout_secs)
        except TaskqError:
            if not node.running:
                raise NodeDied(f"{name}, exit code {node.returncode}: {node.log_tail()}") from None
            return None
        assert isinstance(status, ClusterStatus)
        return status

    async def leader(self, *, timeout_secs: float = 20.0) -> str:
        """Waits for a running node that says that it leads; of two, that of the newer term.
        Raises NotWhole, NodeDied."""
        deadline = time.monotonic() + timeout_secs
        while True:
            found = [await self.status(name) for name in self.nodes]
            leading = [one for one in found if one is not None and one.leader == one.node_id]
            if leading:
                return max(leading, key=lambda one: one.term).node_id
            if time.monotonic() > deadline:
                raise NotWhole(f"nobody leads: {found}")
            await asyncio.sleep(LOOK_SECS)

    async def whole(self, *, timeout_secs: float = WHOLE_SECS) -> float:
        """Waits until every member runs, votes, and has caught up with the leader, which all name
        alike; how many seconds it took. Raises NotWhole, NodeDied."""
        started = time.monotonic()
        while True:
            missing = await self._missing()
            elapsed = time.monotonic() - started
            if not missing:
                return elapsed
            if elapsed > timeout_secs:
                raise NotWhole(f"after {elapsed:.0f} s: {missing}")
            await asyncio.sleep(LOOK_SECS)

    async def _missing(self) -> str:
        statuses = {name: await self.status(name) for name in self.nodes}
        leaders = {None if one is None else one.leader for one in statuses.values()}
        if len(leaders) != 1 or not leaders.isdisjoint({None, ""}):
            return f"leaders {leaders}"
        (leader,) = leaders
        view = statuses[str(leader)]
        assert view is not None
        for name, status in statuses.items():
            if status is None or view.commit_index - status.applied_index > LAG_COUNT_MAX:
                return f"{name} has not applied what is committed"
        for member in (MemberView(*fields) for fields in view.members):
            behind = member.lag is None or member.lag > LAG_COUNT_MAX
            if member.role not in _VOTING or behind or member.state:
                return str(member)
        return ""

    async def same_index(self, *, still_secs: float, timeout_secs: float = 30.0) -> int:
        """Waits until all nodes have applied the same entries and nothing was added for
        `still_secs`; the index. Raises NotWhole, NodeDied."""
        deadline = time.monotonic() + timeout_secs
        seen, since = -1, time.monotonic()
        while True:
            found = [await self.status(name) for name in self.nodes]
            indices = {-1 if one is None else one.applied_index for one in found}
            now = time.monotonic()
            index = indices.pop() if len(indices) == 1 else -1
            if index < 0 or index != seen:
                seen, since = index, now
            elif now - since >= still_secs:
                return index
            if now > deadline:
                raise NotWhole(f"applied indices still differ: {found}")
            await asyncio.sleep(LOOK_SECS)

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Kills what still runs, and removes the hosts."""
        self.kill(*(name for name, node in self.nodes.items() if node.running))
        self.ground.close()

    def __enter__(self) -> LiveCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listens on, and no outgoing connection takes."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")
