"""The replication driver: one round each time something is due (design section 3).

    1 pack all commands that arrived meanwhile into entries and propose them (group commit)
    2 flush the journal: one synced batch, in the log's executor
    3 tick: commit what is flushed, apply it, answer
    4 when the flush returns: the next round

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
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import structlog

from cluster.replication.applier import WRITE_BEHIND_SECS, Applier
from cluster.replication.checkpoint import Checkpoints
from cluster.replication.clock import ClusterClock
from cluster.replication.journal import LogJournal
from cluster.replication.packing import Proposal, Sink, pack
from cluster.replication.raft import Raft
from cluster.storage.errors import StorageFailed
from cluster.storage.log_store import LogStore
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Applied

log = structlog.get_logger(__name__)

# The driver wakes at least so often, so that cluster time follows the clock (A5). Seconds.
WAKE_SECS = 0.25
NOT_LEADER_RETRY_MS = 200


def _thread(name: str) -> Executor:
    return ThreadPoolExecutor(1, name)


class Driver:
    """Drives one node's Raft. `sync_interval_secs`: 0 for durability fsync, else how long an
    acknowledged entry may wait for the disk. `executor(name)` makes an executor whose tasks run one
    after the other."""

    def __init__(
        self,
        raft: Raft,
        journal: LogJournal,
        store: LogStore,
        applier: Applier,
        clock: ClusterClock,
        *,
        sync_interval_secs: float,
        checkpoints: Checkpoints,
        on_failure: Callable[[BaseException], None],
        on_leadership: Callable[[bool], None],
        executor: Callable[[str], Executor] = _thread,
    ) -> None:
        self.raft = raft
        self.applier = applier
        self.clock = clock
        self._journal = journal
        self._store = store
        self._sync_interval_secs = sync_interval_secs
        self._checkpoints = checkpoints
        self._on_failure = on_failure
        self._on_leadership = on_leadership
        self._loop = asyncio.get_running_loop()
        self._log_executor = executor("log")
        self._state_executor = executor("state")
        self._proposals: list[Proposal] = []
        self._proposed: dict[int, list[Proposal]] = {}
        self._round_scheduled = False
        self._flush: asyncio.Future[None] | None = None
        self._state_write: asyncio.Future[None] | None = None
        # A frozen layer of the state, and the index that the log must hold before it is written.
        self._frozen: tuple[int, Callable[[], None]] | None = None
        self._interval_over = True
        self._written_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._led = False
        self._stopping = False
        self.failure: BaseException | None = None
        self.stopped = False
        self._unapplied_bytes = 0  # of own entries: the state has yet to hear of them
        self.unlooked_bytes = 0  # of entries since somebody last looked at the disk's free space

    # --- the door ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Stands for election; the node leads once its no-op is applied."""
        self.raft.stand()
        self._wake_later()
        self.wake()

    def propose(self, command: Any, sink: Sink, tag: Any) -> None:
        """The command goes into the next entry; `sink.deliver(tag, value)` follows, once."""
        if not self.raft.is_leader or self.stopped or self._stopping:
            sink.deliver(tag, self._not_leading())
            return
        self._proposals.append((command, sink, tag))
        self.wake()

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
    def owed_bytes(self) -> int:
        """What log and state have yet to write, about."""
        in_memory = self._unapplied_bytes + self.applier.unwritten_size
        return self._journal.pending_size + in_memory

    async def stop(self) -> None:
        """Takes no more proposals, flushes what was proposed, writes the state, ends the executors.

        After a failed write nothing more is written."""
        self._stopping = True
        try:
            while self.failure is None and (
                self._proposals or self._proposed or self._journal.dirty
            ):
                self._interval_over = True
                self.wake()
                await asyncio.sleep(0.001)
            self.stopped = True
            writes = [write for write in (self._flush, self._state_write) if write is not None]
            if writes:
                await asyncio.wait(writes)
            if self.failure is None:
                await self._write_state_now()
        finally:
            self.stopped = True
            if self._timer is not None:
                self._timer.cancel()
            # Also if this was cancelled: no database may be closed while it is written to.
            self._log_executor.shutdown(wait=True)
            self._state_executor.shutdown(wait=True)

    async def _write_state_now(self) -> None:
        """The last write of the state. The log holds everything that it would lose."""
        try:
            if self._frozen is not None:
                await self._loop.run_in_executor(self._state_executor, self._frozen[1])
                self.applier.end_write()
            if self.applier.unwritten:
                await self._loop.run_in_executor(self._state_executor, self.applier.begin_write())
                self.applier.end_write()
        except StorageFailed as error:
            log.error("the state could not be written; the log has it", error=str(error))

    # --- rounds -----------------------------------------------------------------------------------

    def _round(self) -> None:
        self._round_scheduled = False
        if self.stopped:
            return
        try:
            self.clock.advance()
            self._pack()
            self._begin_flush()
            self.raft.doTick(0)
            self._begin_flush()
            self._begin_state_write()
        except BaseException as error:  # noqa: BLE001  # a bug or a damaged disk: the node stops
            self.fail(error)
            return
        self._notice_leadership()
        if self.raft.behind:
            self.wake()

    def _pack(self) -> None:
        """Group commit: what has arrived becomes as few entries as limits allow. While a flush is
        under way commands wait: they would only wait for the next one inside the journal."""
        if not self._proposals or (self._flush is not None and not self._sync_interval_secs):
            return
        if not self.raft.is_leader:
            waiting, self._proposals = self._proposals, []
            self._answer(waiting, self._not_leading())
            return
        elapsed, wall = self.clock.elapsed_ms, self.clock.wall_ms
        parts = pack(elapsed, wall, self._proposals)
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
            del self._proposed[index]
            self._unapplied_bytes -= size
            if not applied:
                # Another leader's entry took this place: ours was never committed.
                self._answer(batch, self._not_leading())
                return
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

    def _begin_flush(self) -> None:
        if not self._journal.dirty:
            return
        if self._sync_interval_secs and self.raft.is_leader and self._journal.only_entries:
            # Nobody waits for these entries: they count as held, and are synced in time.
            self._journal.count_unflushed()
            if not self._interval_over:
                return
        if self._flush is not None:
            return
        if self._sync_interval_secs:
            self._interval_over = False
            self._loop.call_later(self._sync_interval_secs, self._interval_ended)
        batch, last_index = self._journal.take_pending()
        self._flush = self._loop.run_in_executor(self._log_executor, self._store.write, batch)
        self._flush.add_done_callback(lambda future: self._flushed(future, last_index))

    def _interval_ended(self) -> None:
        self._interval_over = True
        self.wake()

    def _flushed(self, future: asyncio.Future[None], last_index: int) -> None:
        self._flush = None
        error = future.exception()
        if error is not None:
            self.fail(error)
            return
        self._journal.flushed(last_index)
        if not self._round_scheduled and not self.stopped:
            self._round()

    def _begin_state_write(self) -> None:
        if self._state_write is not None:
            return
        if self._frozen is None:
            now = self._loop.time()
            if not self.applier.unwritten:
                return
            if not self.applier.wants_write and now - self._written_at < WRITE_BEHIND_SECS:
                return
            self._written_at = now
            self._frozen = (self.applier.index, self.applier.begin_write())
        index, write = self._frozen
        # Never ahead of the log. With durability `interval` the applied index is always ahead of
        # the synced one under load; a frozen layer stands still until the log has caught up.
        if self._journal.synced_index < index:
            return
        self._state_write = self._loop.run_in_executor(self._state_executor, write)
        self._frozen = None
        self._state_write.add_done_callback(self._state_written)

    def _state_written(self, future: asyncio.Future[None]) -> None:
        self._state_write = None
        error = future.exception()
        if error is not None:
            self.fail(error)
            return
        self.applier.end_write()
        start = self._checkpoints.due(self._loop.time(), self._journal, self.applier.written_index)
        if start is not None:
            self._journal.drop_below(start)
            self.wake()

    def _wake_later(self) -> None:
        self.wake()
        self._timer = self._loop.call_later(WAKE_SECS, self._wake_later)

    # --- leadership and failure -------------------------------------------------------------------

    def _notice_leadership(self) -> None:
        leads = self.raft.is_leader
        if leads == self._led:
            return
        self._led = leads
        if leads:
            machine = self.applier.machine
            self.clock.lead(machine.elapsed_ms, machine.wall_ms)
        self._on_leadership(leads)

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
            if self._led:
                self._led = False
                self._on_leadership(False)
        finally:
            self._on_failure(error)
