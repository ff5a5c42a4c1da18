"""The door to the replicated state for the rest of the node: propose, read, listen.

Outlives the core: when the disk fails, the core is closed and opened again until the disk takes
writes (L2, L6); meanwhile everything is refused with UNAVAILABLE. A member of a group opens its
core when the group was founded (A9), and anew when it was given a state (A11) or found its disk
damaged (A8). In a group of one damage ends the node; bugs always do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from cluster.replication.core import Core, DiskPolicy, Hooks
from cluster.replication.disk_space import LOOK_BYTES, DiskSpace
from cluster.replication.group_settings import GroupSettings
from cluster.replication.links import Note
from cluster.replication.membership import Membership
from cluster.replication.packing import Sink
from cluster.replication.surroundings import Surroundings
from cluster.replication.upkeep import Upkeep
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.log_store import Opened
from taskq.commands import Configure
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Applied, Machine
from taskq.machine.settings import Settings
from taskq.machine.view import MemoryView

log = structlog.get_logger(__name__)

# How long to wait before the disk is tried again, at first and at most. Seconds.
REOPEN_SECS = (0.2, 2.0)
# A disk that held so long after an opening starts anew with short pauses. Seconds.
HELD_SECS = 30.0
RETRY_MS = 1_000
NO_LEADER_RETRY_MS = 200


class Replica:
    """One node's replicated state. `group`: None for a group of one. `stopped` is set when the node
    cannot go on; see `fatal`."""

    def __init__(
        self,
        directory: DataDirectory,
        policy: DiskPolicy,
        space: DiskSpace,
        settings: Settings,
        *,
        compact_secs: float | None,
        group: GroupSettings | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._directory = directory
        self._policy = policy
        self._space = space
        space.owed = self._owed_bytes
        self._settings = settings
        self._group = group
        self._surroundings = surroundings or Surroundings()
        self._address = ""
        self._compact_secs = compact_secs
        self._listeners: list[Callable[[Applied], None]] = []
        self._leadership: list[Callable[[bool], None]] = []
        self._leaders: list[Callable[[str], None]] = []
        self._forwards: list[Callable[[str, bytes], None]] = []
        self._losses: list[Callable[[str], None]] = []
        self._membership: Membership | None = None
        self._core: Core | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._machine = Machine(MemoryView())
        self._ready: asyncio.Future[None] | None = None
        self._stopping = False
        self._leader = ""
        self.fatal: BaseException | None = None
        self.stopped = asyncio.Event()
        self.reopened = 0
        self._pause_secs = REOPEN_SECS[0]
        self._reopened_at = 0.0

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the folder and replays the log. A group of one then leads; a member of a group
        listens for the others. Raises the errors of the storage; OSError and ValueError where it
        cannot listen."""
        if self._group is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._open()
            self._space.start()
            await self._ready
            return
        self._membership = Membership(
            self._group,
            self._directory,
            self._surroundings,
            note=self._note,
            on_formed=self._formed,
            on_failure=self._failed,
            on_state=self._received_state,
            on_forward=self._forwarded,
            on_peer_lost=self._lost,
        )
        try:
            if self._membership.formed:
                self._open()
            self._space.start()
            await self._membership.start()
        except BaseException:
            await self.stop()
            raise

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
        if self._membership is not None:
            membership, self._membership = self._membership, None
            await membership.stop()

    async def hand_over(self) -> None:
        """Before a planned stop: another member takes over, if this one leads and one can (A7)."""
        if self._group is None or not self.is_leader():
            return
        handed = asyncio.get_running_loop().create_future()
        self.transfer("", _Once(handed), None)
        refusal = await handed
        if refusal is not None:
            log.warning("leadership was not handed over", why=refusal.message)

    def _formed(self) -> None:
        """The group was founded, or this node heard that it is."""
        try:
            self._open()
        except BaseException as error:  # noqa: BLE001  # it was called by the network
            self._failed(error)

    def _open(self) -> None:
        directory, membership = self._directory, self._membership
        if membership is None:
            stores = directory.open_stores()
        else:
            found = directory.open_member_stores(listed=membership.listed)
            stores = found.log, found.state
            if found.loss:
                log.error(
                    "this node lost data and counts for nothing until the others have"
                    " given it back",
                    lost=found.loss,
                )
        hooks = Hooks(self._failed, self._leads, self._led_by)
        core = Core(
            directory.identity.node_id,
            stores,
            self._policy,
            self._surroundings,
            hooks,
            None if membership is None else membership.others(),
        )
        if core.opened is not Opened.INTACT:
            log.warning("the log was not closed cleanly", found=core.opened.value)
        self._core = core
        self._machine = core.applier.machine
        for listener in self._listeners:
            core.applier.subscribe(listener)
        if membership is not None:
            membership.attach(core)
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
        """L2: a failed write is survived by opening again, in a group damage is, too (A8); anything
        else ends the node."""
        if self._stopping:
            log.error("the disk failed while the node stopped", error=str(error))
            return
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)
            return
        if isinstance(error, StorageFailed):
            log.error("the disk failed; opening again", error=str(error))
            self._open_again(self._until_it_opens)
            return
        if isinstance(error, DataDamaged) and self._membership is not None:
            log.error("data is damaged: it is set aside and asked of the others", error=str(error))
            self._open_again(lambda: self._without(error))
            return
        self._end(error)

    def _end(self, error: BaseException) -> None:
        log.critical("the node cannot go on", error=str(error), exc_info=error)
        self.fatal = error
        self.stopped.set()

    def _open_again(self, how: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Closes the core, and builds it anew from the disk."""
        if self._reopening is None:
            self._reopening = asyncio.create_task(self._reopen(how))

    async def _reopen(self, how: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            if self._upkeep is not None:
                self._upkeep.cancel()
                await asyncio.gather(self._upkeep, return_exceptions=True)
            if self._core is not None:
                core = self._core
                await core.close()
                self._core = None
            await how()
            self.reopened += 1
            log.warning("opened again", index=self.applied_index)
        except Exception as error:  # noqa: BLE001  # whatever it is, the node says so and ends
            self._end(error)
        finally:
            self._reopening = None

    async def _until_it_opens(self) -> None:
        """After a failed write."""
        if self._membership is not None:
            await self._membership.receiver.reset()
        loop = asyncio.get_running_loop()
        if loop.time() - self._reopened_at > HELD_SECS:
            self._pause_secs = REOPEN_SECS[0]
        while True:
            # It grows also while openings succeed and only the writes after them fail.
            await asyncio.sleep(self._pause_secs)
            self._pause_secs = min(self._pause_secs * 2, REOPEN_SECS[1])
            try:
                self._open()
                break
            except StorageFailed as error:
                log.warning("the disk does not take writes yet", error=str(error))
        self._reopened_at = loop.time()

    async def _without(self, damage: DataDamaged) -> None:
        """Damage met while running: that store is set aside, and the opening sees to the rest."""
        assert self._membership is not None
        await self._membership.receiver.reset()
        directory = self._directory
        if directory.state in (damage.path, *damage.path.parents):
            directory.mark_state_lost()
        else:
            directory.mark_log_lost()
        await self._until_it_opens()

    # --- a state that was given to this node (A11) ------------------------------------------------

    def _received_state(self, index: int) -> None:
        """A whole state is on disk beside the present one, and is taken if it is newer."""
        assert self._membership is not None
        if self._reopening is not None:
            return  # opening finds it
        if index <= self.applied_index:
            self._membership.receiver.dismiss()
            return
        self._open_again(self._swap)

    async def _swap(self) -> None:
        assert self._membership is not None
        self._open()
        self._membership.receiver.installed()

    # --- what the server and the monitors use -----------------------------------------------------

    @property
    def machine(self) -> Machine:
        """The applied state. While the disk is being opened again it cannot be read:
        `unavailable` says so."""
        return self._machine

    def unavailable(self) -> Refusal | None:
        """Why the state cannot be read just now, or None."""
        core = self._core
        if core is not None and not core.driver.stopped:
            return None
        text = "the node's disk failed and is being opened again"
        if core is None and self._membership is not None and not self._membership.formed:
            text = self._membership.obstacle
        return refuse(ErrorCode.UNAVAILABLE, text, RETRY_MS)

    @property
    def node_id(self) -> str:
        """This node."""
        return self._directory.identity.node_id

    @property
    def cluster_id(self) -> str:
        """The cluster that the folder belongs to."""
        return self._directory.identity.cluster_id

    @property
    def address(self) -> str:
        """Where clients reach this node; the node sets it once it listens."""
        return self._address

    @address.setter
    def address(self, address: str) -> None:
        self._address = address
        if self._membership is not None:
            self._membership.links.tell()

    @property
    def leader(self) -> str:
        """Node id of the leader that takes commands, as far as known here, or empty."""
        return self._leader

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
        `Refusal`: a majority still follows this leader, and it has applied what was committed."""
        refusal = self.unavailable()
        if refusal is not None:
            sink.deliver(tag, refusal)
            return
        assert self._core is not None
        self._core.driver.read(_Reader(sink, tag))

    def transfer(self, target: str, sink: Sink, tag: Any) -> None:
        """A7: hands leadership to `target`, or where it is empty to whoever has most of the log.
        `sink.deliver(tag, None)` when this node leads no more, or a `Refusal` that says why."""
        refusal = self.unavailable()
        if refusal is not None:
            sink.deliver(tag, refusal)
            return
        assert self._core is not None

        def done(why: str) -> None:
            code = ErrorCode.NO_LEADER if not self.is_leader() else ErrorCode.UNAVAILABLE
            sink.deliver(tag, refuse(code, why, RETRY_MS) if why else None)

        self._core.driver.transfer(target, done)

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

    def on_leader(self, listener: Callable[[str], None]) -> None:
        """`listener` hears who leads, or "" for nobody, when that changes."""
        self._leaders.append(listener)

    def _led_by(self, leader: str) -> None:
        self._leader = leader
        for listener in self._leaders:
            listener(leader)

    def members(self) -> list[tuple[str, str]]:
        """(node id, client address) of every member; the address is empty where not heard yet."""
        if self._membership is None:
            return [(self.node_id, self._address)]
        return self._membership.addresses(self._address)

    def send(self, peer_id: str, payload: bytes) -> bool:
        """Sends to the server of another node; false where there is no connection. What is sent may
        be lost: `on_peer_lost` tells when."""
        return self._membership is not None and self._membership.forward(peer_id, payload)

    def on_forward(self, listener: Callable[[str, bytes], None]) -> None:
        """`listener(peer_id, payload)` hears what the servers of other nodes send."""
        self._forwards.append(listener)

    def on_peer_lost(self, listener: Callable[[str], None]) -> None:
        """`listener(peer_id)` hears that what was under way to or from a peer may be lost."""
        self._losses.append(listener)

    def _forwarded(self, peer_id: str, payload: bytes) -> None:
        for listener in self._forwards:
            listener(peer_id, payload)

    def _lost(self, peer_id: str) -> None:
        for listener in self._losses:
            listener(peer_id)

    def growth_refused(self) -> Refusal | None:
        """Why what grows is refused, or None (L6)."""
        core = self._core
        if core is not None and core.driver.unlooked_bytes >= LOOK_BYTES:
            core.driver.unlooked_bytes = 0
            self._space.look()
        return self._space.refusal

    def _note(self) -> Note:
        """What the others are told of this node."""
        core = self._core
        state = "" if core is not None else self._membership.obstacle if self._membership else ""
        if core is not None and core.raft.loss:
            state = "does not vote: it lost its log"
        log_bytes = 0 if core is None else core.log.size()
        return Note(
            *(self._address, state, self.term, self.applied_index, self.commit_index),
            *(self.free_bytes(), log_bytes),
        )

    def _owed_bytes(self) -> int:
        return 0 if self._core is None else self._core.driver.owed_bytes

    def free_bytes(self) -> int:
        """Free space for the data folder, as of the last look."""
        return self._space.free_bytes

    def in_flight_bytes(self) -> int:
        """Bytes of entries that wait for the disk."""
        return 0 if self._core is None else self._core.driver.in_flight_bytes


class _Reader:
    """Told whether the state may be read."""

    __slots__ = ("_sink", "_tag")

    def __init__(self, sink: Sink, tag: Any) -> None:
        self._sink, self._tag = sink, tag

    def __call__(self, current: bool) -> None:
        text = "this node does not lead (any more)"
        refusal = None if current else refuse(ErrorCode.NO_LEADER, text, NO_LEADER_RETRY_MS)
        self._sink.deliver(self._tag, refusal)


class _Once:
    """Waits for one answer."""

    def __init__(self, answered: asyncio.Future[Any]) -> None:
        self._answered = answered

    def deliver(self, tag: Any, value: Any) -> None:
        if not self._answered.done():
            self._answered.set_result(value)


class _Configured:
    """Waits for the node's own Configure."""

    def __init__(self, done: Callable[[], None]) -> None:
        self._done = done

    def deliver(self, tag: Any, value: Any) -> None:
        if isinstance(value, Refusal):
            log.warning("the limits of the configuration were refused", error=value.message)
        self._done()
