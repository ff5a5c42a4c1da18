"""Keeps the node's core open: builds it from the folder, and anew when it must be.

closed --open--> core --a write failed--> closed, tried until the disk takes writes (L2, L6)
                      --damage (in a group)--> set aside, asked of the others (A8)
                      --a state was received--> swapped in (A11)
                      --it differs from the others--> set aside, and the node ends (A14)
                      --a bug, or damage in a group of one--> the node ends
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import isawaitable
from typing import Any

import structlog

from cluster.replication.build import OtherVersionNeeded
from cluster.replication.core import Core, DiskPolicy, Hooks
from cluster.replication.leading import StateDiverged
from cluster.replication.membership import Membership
from cluster.replication.surroundings import Surroundings
from cluster.replication.upkeep import Upkeep
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.flags import NON_VOTING_FLAG, UNCERTAIN_FLAG, new_flag_id
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore, Opened
from cluster.storage.state_store import StateStore
from cluster.storage.unsynced import UnsyncedMark

log = structlog.get_logger(__name__)

# How long to wait before the disk is tried again, at first and at most. Seconds.
REOPEN_SECS = (0.2, 2.0)
# A disk that held so long after an opening starts anew with short pauses. Seconds.
HELD_SECS = 30.0
# State and log may each be found damaged, one after the other.
OPENINGS = 3


class Keeper:
    """See the module. `core` is None while there is none. `on_open(core)`: before it starts.
    `on_start_failed(error)`: the first opening of a group of one failed later than its return;
    true where somebody takes the error. `stopped` is set when the node cannot go on; see `fatal`.
    """

    def __init__(
        self,
        directory: DataDirectory,
        policy: DiskPolicy,
        surroundings: Surroundings,
        compact_secs: float | None,
        *,
        on_open: Callable[[Core], None],
        on_leadership: Callable[[bool], None],
        on_leader: Callable[[str], None],
        on_start_failed: Callable[[BaseException], bool],
    ) -> None:
        self._directory = directory
        self._policy = policy
        self._surroundings = surroundings
        self._compact_secs = compact_secs
        self._on_open = on_open
        self._on_start_failed = on_start_failed
        self._hooks = Hooks(self.failed, on_leadership, on_leader)
        self._upkeep: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._reading: asyncio.Future[tuple[LogStore, StateStore]] | None = None
        self._stopping = False
        self._pause_secs = REOPEN_SECS[0]
        self._reopened_at = 0.0
        self.membership: Membership | None = None  # of a member of a group; set before `open`
        self.core: Core | None = None
        self.fatal: BaseException | None = None
        self.stopped = asyncio.Event()
        self.reopened = 0

    async def open(self) -> None:
        """Builds the core. Raises the errors of the storage. What a member finds damaged only when
        it reads it is set aside, as what it finds so at once (A8)."""
        for left in reversed(range(OPENINGS)):
            try:
                self._build(*await self._read_aside())
                return
            except DataDamaged as damage:
                self._survive(damage, left)

    async def _read_aside(self) -> tuple[LogStore, StateStore]:
        """The folder is read outside of the loop, which serves others meanwhile and can tell how
        far that is. Where whoever waits for it is cancelled, `_end_reading` sees to it."""
        self._reading = asyncio.ensure_future(self._surroundings.aside(self._read_folder))
        if not self._reading.done():
            await asyncio.wait([self._reading])
        reading, self._reading = self._reading, None
        return reading.result()

    async def _end_reading(self) -> None:
        """Nothing of the folder is in use afterwards."""
        if self._reading is None:
            return
        await asyncio.wait([self._reading])
        reading, self._reading = self._reading, None
        if reading.exception() is None:
            for store in reading.result():
                store.close()

    def _survive(self, damage: DataDamaged, openings_left: int) -> None:
        if self.membership is None or not openings_left:
            raise damage
        log.error("data is damaged: it is set aside", error=str(damage))
        self._set_aside(damage)

    def _set_aside(self, damage: DataDamaged) -> None:
        directory = self._directory
        if directory.state in (damage.path, *damage.path.parents):
            directory.mark_state_lost()
        else:
            directory.mark_log_lost()

    def _read_folder(self) -> tuple[LogStore, StateStore]:
        directory, membership = self._directory, self.membership
        if membership is None:
            return directory.open_stores()
        found = directory.open_member_stores(listed=membership.listed)
        self._note_unsynced(found.log, found.state)
        if found.loss:
            text = "data was lost: this node counts for nothing until the others gave it back"
            log.error(text, lost=found.loss)
        return found.log, found.state

    def _build(self, store: LogStore, state: StateStore) -> None:
        membership = self.membership
        core = Core(
            self._directory.identity.node_id,
            (store, state),
            self._policy,
            self._surroundings,
            self._hooks,
            None if membership is None else membership.others(),
            self._directory.skips(),
        )
        if core.opened is not Opened.INTACT:
            log.warning("the log was not closed cleanly", found=core.opened.value)
        self.core = core
        self._on_open(core)
        if membership is not None:
            membership.attach(core)
        core.driver.start()
        self._upkeep = asyncio.create_task(Upkeep(core, self._compact_secs).run())
        self._upkeep.add_done_callback(self._upkeep_ended)

    def _note_unsynced(self, store: LogStore, state: StateStore) -> None:
        """A8: with durability `interval`, a crash takes what the others believe this node to have.
        A flag that is there gets another number: the leader must hear of each loss. Closes both
        where it raises."""
        mark = UnsyncedMark(self._directory.path)
        try:
            if mark.is_there:
                log.warning("what was acknowledged last may be lost (durability: interval)")
                which = NON_VOTING_FLAG if NON_VOTING_FLAG in store.flags else UNCERTAIN_FLAG
                store.write(LogBatch(flags={**store.flags, which: new_flag_id()}))
            if self._policy.sync_interval_secs:
                mark.put()
            else:
                mark.remove()
        except BaseException:
            store.close()
            state.close()
            raise

    def open_when_formed(self) -> None:
        """The group was founded, or this node heard that it is. Called by the network."""
        if not self._stopping:  # else the next start finds the record
            self._reopening = asyncio.create_task(self._open_formed())

    async def _open_formed(self) -> None:
        try:
            await self.open()
        except Exception as error:  # noqa: BLE001  # there is nobody above who could take it
            self._reopening = None
            self.failed(error)
        else:
            self._reopening = None

    async def stop(self) -> None:
        """Flushes, writes the state, closes the folder's databases."""
        self._stopping = True
        for task in (self._reopening, self._upkeep):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._end_reading()
        await self._close()

    async def _close(self) -> None:
        """The core is closed once and to the end, also where whoever waits for it is cancelled: a
        stop may come while it is closed to be opened again."""
        if self.core is None:
            return
        if self._closing is None:
            self._closing = asyncio.create_task(self.core.close())
        await asyncio.wait([self._closing])
        core, closing = self.core, self._closing
        self._closing = self.core = None
        closing.result()
        journal, failure = core.raft.journal, core.driver.failure
        if failure is None and journal.synced_index == journal.last_index:
            UnsyncedMark(self._directory.path).remove()

    # --- failure ----------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Somebody met a disk or a state that cannot be read."""
        if self.core is not None:
            self.core.driver.fail(error)  # nothing more is written over what is damaged

    def _upkeep_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def failed(self, error: BaseException) -> None:
        """L2: a failed write is survived by opening again, in a group damage is, too (A8); anything
        else ends the node."""
        if self._stopping and isinstance(error, OtherVersionNeeded):
            return  # every peer says so again and again
        if self._stopping:
            log.error("the disk failed while the node stopped", error=str(error))
        elif self._on_start_failed(error):
            return
        elif isinstance(error, StorageFailed):
            log.error("the disk failed; opening again", error=str(error))
            self._open_again(self._after_a_failure)
        elif isinstance(error, DataDamaged) and self.membership is not None:
            log.error("data is damaged: it is set aside and asked of the others", error=str(error))
            self._open_again(lambda: self._without(error))
        elif isinstance(error, StateDiverged):
            log.critical("the state is not that of the others: the node ends", error=str(error))
            self._open_again(lambda: self._give_up(error))
        else:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        if self.fatal is not None:
            return  # said already
        trace = None if isinstance(error, OtherVersionNeeded) else error
        log.critical("the node cannot go on", error=str(error), exc_info=trace)
        self.fatal = error
        self.stopped.set()

    def _open_again(self, how: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Closes the core, and has it built anew."""
        if self._reopening is None:
            self._reopening = asyncio.create_task(self._reopen(how))

    async def _reopen(self, how: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            if self.membership is not None:
                self.membership.detach()  # nothing is received for a core that is being closed
            if self._upkeep is not None:
                self._upkeep.cancel()
                await asyncio.gather(self._upkeep, return_exceptions=True)
            await self._close()
            self._tell()
            await how()
            self.reopened += 1
            self._tell()
            log.warning("opened again", index=self._applied_index())
        except Exception as error:  # noqa: BLE001  # whatever it is, the node says so and ends
            self._end(error)
        finally:
            self._reopening = None

    def _tell(self) -> None:
        """The others hear at once whether this node takes part."""
        if self.membership is not None:
            self.membership.links.tell()

    def _applied_index(self) -> int:
        return 0 if self.core is None else self.core.raft.applied_index

    async def _after_a_failure(self) -> None:
        """After a failed write."""
        if asyncio.get_running_loop().time() - self._reopened_at > HELD_SECS:
            self._pause_secs = REOPEN_SECS[0]
        # It grows also while openings succeed and only the writes after them fail.
        await self._pause()
        await self._forget_transfer()
        await self._insist(self.open)
        self._reopened_at = asyncio.get_running_loop().time()

    async def _pause(self) -> None:
        await asyncio.sleep(self._pause_secs)
        self._pause_secs = min(self._pause_secs * 2, REOPEN_SECS[1])

    async def _insist(self, step: Callable[[], object]) -> None:
        """Takes a step that writes to the disk, until the disk lets it."""
        while True:
            try:
                taken = step()
                if isawaitable(taken):
                    await taken
                return
            except StorageFailed as error:
                log.warning("the disk does not take writes yet", error=str(error))
            await self._pause()

    async def _forget_transfer(self) -> None:
        """No state is being received while the folder is opened."""
        if self.membership is not None:
            await self.membership.receiver.reset()

    async def _without(self, damage: DataDamaged) -> None:
        """Damage met while running: that store is set aside, and the opening sees to the rest."""
        await self._forget_transfer()
        await self._insist(lambda: self._set_aside(damage))
        await self._after_a_failure()

    async def _give_up(self, error: StateDiverged) -> None:
        """A14: neither the state is read again nor the log, for an entry may have been spoilt on
        its way there. The next start asks the others for both (A8); the node ends all the same, so
        that somebody looks, and what differs each time does so no faster than it is restarted."""
        await self._forget_transfer()
        await self._insist(self._directory.mark_log_lost)
        await self._insist(self._directory.mark_state_lost)
        raise error

    # --- a state that was given to this node (A11) ------------------------------------------------

    def take_state(self, index: int) -> None:
        """A whole state is on disk beside the present one, and is taken if it is newer."""
        assert self.membership is not None
        if self._reopening is not None or self._stopping:
            return  # the next opening finds it
        if self.core is not None and index <= self.core.raft.applied_index:
            self.membership.receiver.dismiss()
        else:
            self._open_again(self._swap)

    async def _swap(self) -> None:
        assert self.membership is not None
        await self._insist(self.open)
        self.membership.receiver.installed()
