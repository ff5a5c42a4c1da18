"""The door to the replicated state for the rest of the node: propose, read, listen.

Outlives the core: when the disk fails, the core is closed and opened again until the disk takes
writes (L2, L6); meanwhile everything is refused with UNAVAILABLE. Damage and bugs end the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from cluster.replication.core import Core, DiskPolicy
from cluster.replication.disk_space import LOOK_BYTES, DiskSpace
from cluster.replication.packing import Sink
from cluster.replication.upkeep import Upkeep
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import StorageFailed
from cluster.storage.log_store import Opened
from taskq.commands import Configure
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Applied, Machine
from taskq.machine.settings import Settings

log = structlog.get_logger(__name__)

# How long to wait before the disk is tried again, at first and at most. Seconds.
REOPEN_SECS = (0.2, 2.0)
# A disk that held so long after an opening starts anew with short pauses. Seconds.
HELD_SECS = 30.0
RETRY_MS = 1_000


class Replica:
    """One node's replicated state. `stopped` is set when the node cannot go on; see `fatal`."""

    def __init__(
        self,
        directory: DataDirectory,
        policy: DiskPolicy,
        space: DiskSpace,
        settings: Settings,
        *,
        compact_secs: float | None,
    ) -> None:
        self._directory = directory
        self._policy = policy
        self._space = space
        space.owed = self._owed_bytes
        self._settings = settings
        self.address = ""  # told to clients; the node sets it once it listens
        self._compact_secs = compact_secs
        self._listeners: list[Callable[[Applied], None]] = []
        self._leadership: list[Callable[[bool], None]] = []
        self._core: Core | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._last_machine: Machine | None = None
        self._ready: asyncio.Future[None] | None = None
        self._stopping = False
        self.fatal: BaseException | None = None
        self.stopped = asyncio.Event()
        self.reopened = 0
        self._pause_secs = REOPEN_SECS[0]
        self._reopened_at = 0.0

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the folder, replays the log and leads. Raises the errors of the storage."""
        self._ready = asyncio.get_running_loop().create_future()
        self._open()
        self._space.start()
        await self._ready

    async def stop(self) -> None:
        """Flushes, writes the state, closes the folder's databases."""
        self._stopping = True
        for task in (self._reopening, self._upkeep):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._space.stop()
        if self._core is not None:
            core, self._core = self._core, None
            await core.close()

    def _open(self) -> None:
        core = Core(self._directory, self._policy, self._failed, self._leads)
        if core.opened is not Opened.INTACT:
            log.warning("the log was not closed cleanly", found=core.opened.value)
        self._core = core
        self._last_machine = core.applier.machine
        for listener in self._listeners:
            core.applier.subscribe(listener)
        core.driver.start()
        self._upkeep = asyncio.create_task(Upkeep(core, self._compact_secs).run())
        self._upkeep.add_done_callback(self._upkeep_ended)

    def fail(self, error: BaseException) -> None:
        """Somebody met a disk or a state that cannot be read: see `_failed`."""
        if self._core is not None:
            self._core.driver.fail(error)  # nothing more is written over what is damaged

    def _upkeep_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def _leads(self, leads: bool) -> None:
        core = self._core
        if leads and core is not None and core.applier.machine.settings != self._settings:
            # Only then ready: the first Hello must not tell the limits of yesterday.
            self.propose(Configure(self._settings.as_map()), _Configured(self._is_ready), None)
        elif leads:
            self._is_ready()
        for listener in self._leadership:
            listener(leads)

    def _is_ready(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def _failed(self, error: BaseException) -> None:
        """L2: a failed write is survived by opening again; anything else ends the node."""
        if self._stopping:
            log.error("the disk failed while the node stopped", error=str(error))
            return
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)
            return
        if isinstance(error, StorageFailed):
            log.error("the disk failed; opening again", error=str(error))
            if self._reopening is None:
                self._reopening = asyncio.create_task(self._reopen())
            return
        log.critical("the node cannot go on", error=str(error), exc_info=error)
        self.fatal = error
        self.stopped.set()

    async def _reopen(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._reopened_at > HELD_SECS:
            self._pause_secs = REOPEN_SECS[0]
        core = self._core
        assert core is not None
        try:
            if self._upkeep is not None:
                self._upkeep.cancel()
                await asyncio.gather(self._upkeep, return_exceptions=True)
            await core.close()
            self._core = None
            while True:
                # It grows also while openings succeed and only the writes after them fail.
                await asyncio.sleep(self._pause_secs)
                self._pause_secs = min(self._pause_secs * 2, REOPEN_SECS[1])
                try:
                    self._open()
                    break
                except StorageFailed as error:
                    log.warning("the disk does not take writes yet", error=str(error))
            self.reopened += 1
            self._reopened_at = loop.time()
            log.warning("opened again after the disk failed", index=self.applied_index)
        except Exception as error:
            log.critical("the node cannot go on", error=str(error), exc_info=error)
            self.fatal = error
            self.stopped.set()
        finally:
            self._reopening = None

    # --- what the server and the monitors use -----------------------------------------------------

    @property
    def machine(self) -> Machine:
        """The applied state. While the disk is being opened again it cannot be read:
        `unavailable` says so."""
        assert self._last_machine is not None, "not started"
        return self._last_machine

    def unavailable(self) -> Refusal | None:
        """Why the state cannot be read just now, or None."""
        if self._core is None or self._core.driver.stopped:
            text = "the node's disk failed and is being opened again"
            return refuse(ErrorCode.UNAVAILABLE, text, RETRY_MS)
        return None

    @property
    def node_id(self) -> str:
        """This node."""
        return self._directory.identity.node_id

    @property
    def cluster_id(self) -> str:
        """The cluster that the folder belongs to."""
        return self._directory.identity.cluster_id

    @property
    def leader(self) -> str:
        """Node id of the leader, or empty."""
        return self.node_id if self.is_leader() else ""

    @property
    def term(self) -> int:
        """The current term; 0 while the disk is being opened again."""
        return 0 if self._core is None else self._core.raft.term

    @property
    def applied_index(self) -> int:
        """Index of the last applied entry."""
        return 0 if self._core is None else self._core.raft.applied_index

    @property
    def commit_index(self) -> int:
        """Index of the last committed entry."""
        return 0 if self._core is None else self._core.raft.commit_index

    def is_leader(self) -> bool:
        """Leader, and its own no-op is applied (A6)."""
        core = self._core
        return core is not None and not core.driver.stopped and core.raft.is_leader

    def propose(self, command: Any, sink: Sink, tag: Any) -> None:
        """The command goes into the next entry. `sink.deliver(tag, value)` follows, once, on
        the loop, in the order of the log: a reply, or a `Refusal` (`unknown` where it may have been
        carried out all the same)."""
        refusal = self.unavailable()
        if refusal is not None:
            sink.deliver(tag, refusal)
            return
        assert self._core is not None
        self._core.driver.propose(command, sink, tag)

    def read_barrier(self, sink: Sink, tag: Any) -> None:
        """`sink.deliver(tag, None)` when `machine` shows everything acknowledged before (A6), or a
        `Refusal`. In a group of one that is at once: answers follow from applied entries."""
        refusal = self.unavailable()
        if refusal is None and not self.is_leader():
            refusal = refuse(ErrorCode.NO_LEADER, "this node does not lead (yet)", 200)
        sink.deliver(tag, refusal)

    def cluster_time_ms(self) -> int:
        """The leader's cluster time now."""
        if self._core is None:
            return 0
        clock = self._core.driver.clock
        clock.advance()  # between two rounds it stands still, for up to 250 ms
        return max(clock.elapsed_ms, self.machine.elapsed_ms)

    def wall_ms(self) -> int:
        """The log's wall time now."""
        if self._core is None:
            return 0
        clock = self._core.driver.clock
        clock.advance()
        return max(clock.wall_ms, self.machine.wall_ms)

    def subscribe(self, listener: Callable[[Applied], None]) -> None:
        """`listener` hears of every applied entry, after its results were delivered."""
        self._listeners.append(listener)
        if self._core is not None:
            self._core.applier.subscribe(listener)

    def on_leadership(self, listener: Callable[[bool], None]) -> None:
        """`listener` hears when this node begins (true) and ceases (false) to lead."""
        self._leadership.append(listener)

    def members(self) -> list[tuple[str, str]]:
        """(node id, client address) of every member."""
        return [(self.node_id, self.address)]

    def growth_refused(self) -> Refusal | None:
        """Why what grows is refused, or None (L6)."""
        core = self._core
        if core is not None and core.driver.unlooked_bytes >= LOOK_BYTES:
            core.driver.unlooked_bytes = 0
            self._space.look()
        return self._space.refusal

    def _owed_bytes(self) -> int:
        return 0 if self._core is None else self._core.driver.owed_bytes

    def free_bytes(self) -> int:
        """Free space for the data folder, as of the last look."""
        return self._space.free_bytes

    def in_flight_bytes(self) -> int:
        """Bytes of entries that wait for the disk."""
        return 0 if self._core is None else self._core.driver.in_flight_bytes


class _Configured:
    """Waits for the node's own Configure."""

    def __init__(self, done: Callable[[], None]) -> None:
        self._done = done

    def deliver(self, tag: Any, value: Any) -> None:
        if isinstance(value, Refusal):
            log.warning("the limits of the configuration were refused", error=value.message)
        self._done()
