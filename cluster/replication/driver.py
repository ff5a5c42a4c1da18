"""The replication driver: one round each time something is due (design section 3).

    1 take in what the others sent; timers
    2 pack all commands that arrived meanwhile into entries and propose them (group commit)
    3 send the others what they lack of the log, at once
    4 flush the journal: one synced batch, in the log's executor, while the others do the same
    5 tick: commit what is flushed, apply it, answer
    6 when the flush returns: what waited for it goes out, the next round

While the disk syncs, the loop reads sockets: load makes batches larger, not latency longer. Nothing
is answered before the flush it depends on (A2). With `durability: interval` clients do not wait for
the flush; term, vote and truncation still do.

Everything here runs on the event loop; only `LogStore.write` and `StateStore.write` run in
executors, one thread each. A failed write stops the driver (L2): `on_failure` is told, everything
that waits is answered "unknown", and the node builds a new one from the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import structlog

from cluster.replication.applier import Applier
from cluster.replication.checkpoint import Checkpoints
from cluster.replication.clock import ClusterClock
from cluster.replication.consensus import Consensus
from cluster.replication.log_writer import LogWriter
from cluster.replication.packing import Proposal, Sink, pack
from cluster.replication.raft_state import LEADER
from cluster.replication.state_writer import StateWriter
from cluster.replication.transfer import Done
from cluster.storage.log_store import LogStore
from taskq.commands import AddMember, RemoveMember
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Applied
from taskq.results import MemberChange

log = structlog.get_logger(__name__)

# The driver wakes at least so often, so that cluster time follows the clock (A5). Seconds.
WAKE_SECS = 0.25
# A clean stop waits so long for the others to acknowledge what was proposed. Seconds.
STOP_SECS = 2.0
NOT_LEADER_RETRY_MS = 200


class Driver:
    """Drives one node's Raft. `sync_interval_secs`: 0 for durability fsync, else how long an
    acknowledged entry may wait for the disk. `executor(name)` makes an executor whose tasks run one
    after the other. `on_leadership(leads)`: this node may propose, or not any more;
    `on_leader(node_id)`: who may, as far as known, or empty."""

    def __init__(
        self,
        consensus: Consensus,
        store: LogStore,
        applier: Applier,
        clock: ClusterClock,
        *,
        sync_interval_secs: float,
        checkpoints: Checkpoints,
        on_failure: Callable[[BaseException], None],
        on_leadership: Callable[[bool], None],
        on_leader: Callable[[str], None],
        executor: Callable[[str], Executor],
    ) -> None:
        self.consensus = consensus
        self.raft = consensus.raft
        self.applier = applier
        self.clock = clock
        self._journal = self.raft.journal
        self._on_failure = on_failure
        self._on_leadership = on_leadership
        self._on_leader = on_leader
        self._loop = asyncio.get_running_loop()
        self._log_writer = LogWriter(
            self._journal,
            store,
            executor("log"),
            sync_interval_secs,
            on_flushed=self._flushed,
            on_failure=self.fail,
            wake=self.wake,
        )
        self._state_writer = StateWriter(
            applier,
            self._journal,
            checkpoints,
            executor("state"),
            on_written=self.wake,
            on_failure=self.fail,
        )
        self._inbox: list[tuple[str, bytes | memoryview]] = []
        self._proposals: list[Proposal] = []
        self._proposed: dict[int, list[Proposal]] = {}
        self._round_scheduled = False
        self.round_count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._led = 0  # the term in which this node leads
        self._confirmed_term = 0  # the newest term whose leader is known to be ready
        self.leader = ""
        self._stopping = False
        self.failure: BaseException | None = None
        self.stopped = False
        self._unapplied_bytes = 0  # of own entries: the state has yet to hear of them
        self.unlooked_bytes = 0  # of entries since somebody last looked at the disk's free space

    # --- the door ---------------------------------------------------------------------------------

    def start(self) -> None:
        """A group of one leads as soon as its no-op is on disk; a larger one elects."""
        self._arm(0.0)
        self.wake()

    def receive(self, peer_id: str, message: bytes | memoryview) -> None:
        """A message of another member, for the next round. A stop waits for acknowledgements."""
        if not self.stopped and (self.consensus.leads or not self._stopping):
            self._inbox.append((peer_id, message))
            self.wake()

    def propose(self, command: Any, sink: Sink, tag: Any) -> None:
        """The command goes into the next entry; `sink.deliver(tag, value)` follows, once."""
        if not self.consensus.leads or self.stopped or self._stopping:
            sink.deliver(tag, self._not_leading())
            return
        self._proposals.append((command, sink, tag))
        self.wake()

    def read(self, reader: Callable[[bool], None]) -> None:
        """Calls `reader(True)` when the state shows everything that was acknowledged before now
        (A6), `reader(False)` where this node does not lead (any more)."""
        if self.stopped:
            reader(False)
            return
        self.consensus.read(reader)
        self.wake()

    def transfer(self, target: str, done: Done) -> None:
        """A7: hands leadership to `target` (empty: who has most). `done(None)`, or why not."""
        leading = self.consensus.leading
        if leading is None or not self.raft.is_leader or self.stopped:
            done(self._not_leading())
            return
        self.consensus.transfer.begin(target, leading, self._loop.time(), done)
        self.wake()

    def change_members(self, change: AddMember | RemoveMember) -> MemberChange | Refusal:
        """See `Changes`."""
        leading = self.consensus.leading
        if leading is None or not self.raft.is_leader or self.stopped:
            return self._not_leading()
        self.wake()
        return self.consensus.changes.take(change, leading, self._loop.time())

    def wake(self) -> None:
        """A round is due, after what has already arrived on the sockets."""
        if not self._round_scheduled and not self.stopped:
            self._round_scheduled = True
            self._loop.call_soon(self._round)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of entries that wait for the disk."""
        return self._journal.pending_size

    @property
    def writes(self) -> tuple[tuple[bool, int], tuple[bool, int]]:
        """For log and state: whether a write is under way, how many have ended."""
        log, state = self._log_writer, self._state_writer
        return (log.writing, log.written_count), (state.write is not None, state.written_count)

    @property
    def owed_bytes(self) -> int:
        """What log and state have yet to write, about."""
        return self._journal.pending_size + self._unapplied_bytes + self.applier.unwritten_size

    async def stop(self) -> None:
        """Takes no more proposals, flushes what was proposed, writes the state, ends the executors.

        After a failed write nothing more is written."""
        self._stopping = True
        until = self._loop.time() + STOP_SECS
        try:
            while self.failure is None and (
                self._proposals or self._proposed or self._journal.dirty
            ):
                if self.raft.others and self._loop.time() >= until:
                    break
                self._log_writer.hurry()
                await asyncio.sleep(0.001)
            self._answer_all("the node stops; the outcome is unknown")
            waiting, self._proposals = self._proposals, []
            self._answer(waiting, self._not_leading())
            self.stopped = True
            self._end_leadership()
            await self._log_writer.settle()
            if self._state_writer.write is not None:
                await asyncio.wait([self._state_writer.write])
            if self.failure is None:
                await self._state_writer.finish()
        finally:
            self.stopped = True
            if self._timer is not None:
                self._timer.cancel()
            # Also if this was cancelled: no database may be closed while it is written to.
            self._log_writer.close()
            self._state_writer.close()

    # --- rounds -----------------------------------------------------------------------------------

    def _round(self) -> None:
        self._round_scheduled = False
        self.round_count += 1
        if self.stopped:
            return
        consensus = self.consensus
        try:
            if self._inbox:
                inbox, self._inbox = self._inbox, []
                for peer_id, message in inbox:
                    consensus.receive(peer_id, message)
            self.clock.advance()
            consensus.turn()
            consensus.judge_disk(self._log_writer.stuck_secs())
            self._notice_leadership()
            self._pack()
            consensus.send()
            consensus.post.flush()  # before the disk's thread wants the interpreter
            self._log_writer.begin()
            self.raft.doTick(0)
            consensus.applied()
            self._notice_leadership()
            self._log_writer.begin()
            consensus.release()
            consensus.post.flush()
            self._state_writer.begin()
        except BaseException as error:  # noqa: BLE001  # a bug or a damaged disk: the node stops
            self.fail(error)
            return
        self._arm(consensus.due())
        if self.raft.behind:
            self.wake()

    def _pack(self) -> None:
        """Group commit: what has arrived becomes as few entries as limits allow. While a flush is
        under way commands wait: they would only wait for the next one inside the journal."""
        if not self._proposals or self._log_writer.busy:
            return
        if not self.consensus.leads:
            waiting, self._proposals = self._proposals, []
            self._answer(waiting, self._not_leading())
            return
        if not self.raft.is_leader or self.consensus.transfer.holding:
            return  # they wait for the no-op (A6), or for whoever leads next (A7)
        elapsed, wall = self.clock.elapsed_ms, self.clock.wall_ms
        parts = pack(elapsed, wall, self._proposals, self.applier.machine.level)
        self._proposals = []
        for part, entry in parts:
            self._propose(part, entry)

    def _propose(self, batch: list[Proposal], entry: bytes) -> None:
        index = self._journal.last_index + 1
        self._proposed[index] = batch
        size = len(entry)
        self.unlooked_bytes += size
        self._unapplied_bytes += size

        def done(result: Applied, applied: bool) -> None:
            assert applied, "a leader's own entry was replaced"
            del self._proposed[index]
            self._unapplied_bytes -= size
            reply = self.applier.machine.reply
            count = 0
            try:
                for (_, sink, tag), value in zip(batch, result.results, strict=True):
                    answer = reply(value)  # reads the disk, which may fail
                    count += 1
                    sink.deliver(tag, answer)
            except BaseException:
                self._proposed[index] = batch[count:]  # they hear "unknown" when the round fails
                raise

        self.raft.propose(entry, done)

    @staticmethod
    def _answer(batch: list[Proposal], value: Any) -> None:
        for _, sink, tag in batch:
            sink.deliver(tag, value)

    def _flushed(self) -> None:
        if not self._round_scheduled and not self.stopped:
            self._round()

    def _arm(self, due: float) -> None:
        """Sets the timer, unless it rings early enough."""
        due = min(due, self._loop.time() + WAKE_SECS)
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        """What waits on the sockets comes first, so that a machine that was suspended does not take
        its own sleep for the leader's silence (A5): libuv runs timers before it reads sockets, and
        a callback of a callback after it has."""
        self._timer = None
        self._loop.call_soon(self._loop.call_soon, self.wake)

    # --- leadership and failure -------------------------------------------------------------------

    def _notice_leadership(self) -> None:
        led = self.raft.term if self.raft.is_leader else 0
        if led != self._led:
            if self._led:
                self._led = 0
                self._answer_all("this node leads no more; the outcome is unknown")
                self._on_leadership(False)
            if led:
                self._led = led
                self.clock.goes_on(self.applier.machine.elapsed_ms, self.applier.machine.wall_ms)
                self._on_leadership(True)
                self.wake()  # for what waited until this node was ready
        leader = self._ready_leader()
        if leader != self.leader:
            self.leader = leader
            self._on_leader(leader)

    def _ready_leader(self) -> str:
        """Who leads and is heard, once something of its term is committed: it takes commands."""
        raft = self.raft
        if raft.role == LEADER:
            return raft.node_id if raft.is_leader else ""
        if not self.consensus.elections.hears_leader():
            return ""
        if self._confirmed_term != raft.term:
            if raft.term_at(raft.commit_index) != raft.term:
                return ""
            self._confirmed_term = raft.term
        return raft.leader

    def _answer_all(self, text: str) -> None:
        """Answers what was proposed: it may be carried out or not."""
        unknown = Refusal(ErrorCode.NO_LEADER.value, text, 0, True)
        self.raft.forget_proposals()
        self._unapplied_bytes = 0
        proposed, self._proposed = self._proposed, {}
        for batch in proposed.values():
            self._answer(batch, unknown)

    def _not_leading(self) -> Refusal:
        return refuse(ErrorCode.NO_LEADER, "this node does not lead (yet)", NOT_LEADER_RETRY_MS)

    def fail(self, error: BaseException) -> None:
        """L2: nothing that waited is released; what was proposed may or may not have been kept.

        For the driver itself, and for whoever finds that the disk is damaged."""
        if self.failure is not None:
            return
        self.stopped = True
        self.failure = error
        unknown = Refusal(
            ErrorCode.UNAVAILABLE.value, "the node's disk failed; the outcome is unknown", 0, True
        )
        try:
            for batch in self._proposed.values():
                self._answer(batch, unknown)
            self._proposed.clear()
            waiting, self._proposals = self._proposals, []
            text = "the node's disk failed; nothing was changed"
            self._answer(waiting, refuse(ErrorCode.UNAVAILABLE, text, NOT_LEADER_RETRY_MS))
            self._end_leadership()
        finally:
            self._on_failure(error)

    def _end_leadership(self) -> None:
        """Nobody waits for this driver any more, and it knows of no leader."""
        self.consensus.end()
        if self._led:
            self._led = 0
            self._on_leadership(False)
        if self.leader:
            self.leader = ""
            self._on_leader("")
