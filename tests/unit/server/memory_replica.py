"""A replica in memory: the real machine, entries as the driver makes them, no disk and no peers.

All commands that arrive in one round of the loop become one entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cluster.server.replica import Sink
from cluster.vitals import Vitals
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Applied, Machine
from taskq.machine.view import MemoryView
from taskq.pairs import pack_pair
from taskq.results import ClusterStatus, MemberChange

WALL_MS = 1_800_000_000_000


class MemoryReplica:
    """See the module. Its clocks are the loop's, plus `skip_ms`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.machine = Machine(MemoryView())
        self.node_id = "node1"
        self.cluster_id = "c" * 32
        self.leader = "node1"
        self.term = 1
        self.applied_index = 0
        self.commit_index = 0
        self.full: Refusal | None = None
        self.closed: Refusal | None = None
        self.entries: list[list[Any]] = []  # the commands of each entry
        self.keep_entries = True
        self.held = False  # proposals wait until `release`
        self.skip_ms = 0
        self.extra_bytes = 0
        self.rounds = 0
        self._loop = loop
        self._start = loop.time()
        self._batch: list[tuple[Any, Sink, Any]] = []
        self._listeners: list[Callable[[Applied], None]] = []
        self._leadership: list[Callable[[bool], None]] = []
        self._leader_listeners: list[Callable[[str], None]] = []
        self.exports = MemoryExports(loop, self)

    def unavailable(self) -> Refusal | None:
        return self.closed

    def vitals(self) -> Vitals:
        if self.closed is not None:
            return Vitals(obstacle=self.closed.message)
        self.rounds += 1
        return Vitals(leader=self.leader, leads=self.is_leader(), rounds=self.rounds)

    def is_leader(self) -> bool:
        return self.leader == self.node_id

    def propose(self, command: Any, sink: Sink, tag: Any) -> None:
        if not self.is_leader():
            sink.deliver(tag, refuse(ErrorCode.NO_LEADER, "not the leader", 200))
            return
        if not self._batch and not self.held:
            self._loop.call_soon(self._apply)
        self._batch.append((command, sink, tag))

    def release(self) -> None:
        self.held = False
        self._apply()

    def _apply(self) -> None:
        if not self._batch or self.held:
            return
        batch, self._batch = self._batch, []
        commands = [command for command, _, _ in batch]
        elapsed, wall = self.cluster_time_ms(), self.wall_ms()
        applied = self.machine.apply(encode_entry(elapsed, wall, commands))
        self.applied_index += 1
        self.commit_index = self.applied_index
        if self.keep_entries:
            self.entries.append(commands)
        reply = self.machine.reply
        for (_, sink, tag), result in zip(batch, applied.results, strict=True):
            sink.deliver(tag, reply(result))
        for listener in self._listeners:
            listener(applied)

    def lose_leadership(self, *, unknown: bool = True) -> None:
        """As the driver does it: what is in flight is answered, then the listeners hear of it."""
        self.leader = ""
        batch, self._batch = self._batch, []
        refusal = Refusal(ErrorCode.NO_LEADER.value, "leadership lost", 200, unknown)
        for _, sink, tag in batch:
            sink.deliver(tag, refusal)
        for listener in self._leadership:
            listener(False)
        self._tell_leader()

    def lead(self) -> None:
        self.leader = self.node_id
        self.term += 1
        for listener in self._leadership:
            listener(True)
        self._tell_leader()

    def follow(self, leader: str) -> None:
        """Another node leads, or none."""
        self.leader = leader
        self._tell_leader()

    def _tell_leader(self) -> None:
        for listener in self._leader_listeners:
            listener(self.leader)

    def on_leader(self, listener: Callable[[str], None]) -> None:
        self._leader_listeners.append(listener)

    def send(self, peer_id: str, payload: bytes) -> bool:  # a group of one
        return False

    def trusts(self, peer_id: str) -> bool:  # a group of one
        return False

    def on_forward(self, listener: Callable[[str, bytes], None]) -> None:
        """Nobody sends anything."""

    def on_peer_lost(self, listener: Callable[[str], None]) -> None:
        """There are no peers."""

    def read_barrier(self, sink: Sink, tag: Any) -> None:
        sink.deliver(tag, None)

    def cluster_time_ms(self) -> int:
        return int((self._loop.time() - self._start) * 1000) + self.skip_ms

    def wall_ms(self) -> int:
        return WALL_MS + self.cluster_time_ms()

    def subscribe(self, listener: Callable[[Applied], None]) -> None:
        self._listeners.append(listener)

    def on_leadership(self, listener: Callable[[bool], None]) -> None:
        self._leadership.append(listener)

    def members(self) -> list[tuple[str, str]]:
        return [("node1", "127.0.0.1:6379")]

    def cluster_status(self) -> ClusterStatus:
        return ClusterStatus(
            *(self.node_id, self.leader, self.term, self.commit_index, self.applied_index),
            *(self.cluster_id, self.cluster_time_ms(), []),
        )

    @property
    def level(self) -> Any:
        return self

    def raise_to(self, level: int, sink: Sink, tag: Any) -> None:
        sink.deliver(tag, (self.machine.level, self.machine.level))

    def transfer(self, target: str, sink: Sink, tag: Any) -> None:
        sink.deliver(tag, refuse(ErrorCode.WRONG_STATE, "there is nobody else"))

    def removed(self) -> Refusal | None:
        return None

    def change_members(self, change: Any) -> MemberChange | Refusal:
        return refuse(ErrorCode.WRONG_STATE, "a group of one")

    def growth_refused(self) -> Refusal | None:
        return self.full

    def entries_sent(self) -> int:
        return 0

    def in_flight_bytes(self) -> int:
        return self.extra_bytes


class MemoryExport:
    """The pairs of a view as they were when it was made."""

    def __init__(self, replica: MemoryReplica) -> None:
        self.index, self.terms, self.digest = replica.applied_index, (0, replica.term), 7
        view = replica.machine._state.view
        assert isinstance(view, MemoryView)
        self.pairs = view.scan(b"", None, len(view.values))
        self.size = sum(len(key) + len(value) + 8 for key, value in self.pairs)


class MemoryExports:
    """Hands out one pair at a time; `held`: reads wait until `release`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, replica: MemoryReplica) -> None:
        self._loop = loop
        self._replica = replica
        self.open: list[MemoryExport] = []
        self.held: list[Callable[[], None]] | None = None
        self.broken: Refusal | None = None

    def begin(self, least_index: int, deadline: float, done: Callable[[Any], None]) -> None:
        if self.broken is not None:
            done(self.broken)
            return
        export = MemoryExport(self._replica)
        self.open.append(export)
        self._soon(lambda: done(export))

    def read(self, export: MemoryExport, done: Callable[[bytes | Refusal], None]) -> None:
        assert export in self.open
        pair = export.pairs.pop(0) if export.pairs else None
        data = b"" if pair is None else pack_pair(*pair)
        self._soon(lambda: done(self.broken or data))

    def end(self, export: MemoryExport) -> None:
        self.open.remove(export)

    def release(self) -> None:
        held, self.held = self.held or [], None
        for each in held:
            each()

    def _soon(self, what: Callable[[], None]) -> None:
        if self.held is not None:
            self.held.append(what)
        else:
            self._loop.call_soon(what)
