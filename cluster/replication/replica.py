"""The door to the replicated state for the rest of the node: propose, read, listen.

Outlives the core: when the disk fails, the core is closed and opened again until the disk takes
writes (`keeper.py`); meanwhile everything is refused with UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from cluster.replication import status
from cluster.replication.core import Core, DiskPolicy
from cluster.replication.disk_space import LOOK_BYTES, DiskSpace
from cluster.replication.driver import Driver
from cluster.replication.exports import Exports
from cluster.replication.feature_level import FeatureLevel, too_early
from cluster.replication.group_settings import GroupSettings
from cluster.replication.keeper import Keeper
from cluster.replication.leader_watch import LeaderWatch
from cluster.replication.listeners import Listeners
from cluster.replication.membership import Membership
from cluster.replication.packing import Sink
from cluster.replication.sinks import Configured, Once, Reader
from cluster.replication.surroundings import Surroundings
from cluster.replication.vitals import vitals
from cluster.storage.directory import DataDirectory
from cluster.vitals import Vitals
from taskq.commands import AddMember, Configure, RemoveMember
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Applied, Machine
from taskq.machine.settings import Settings
from taskq.machine.view import MemoryView
from taskq.results import ClusterStatus, MemberChange

log = structlog.get_logger(__name__)

RETRY_MS = 1_000


class Replica:
    """One node's replicated state. `group`: None for a group of one. `stopped` is set when the node
    cannot go on; see `fatal`. `exports`: the state on disk, to be read for backups."""

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
        self._space = space
        space.owed = self._owed_bytes
        self._settings = settings
        self._group = group
        self._surroundings = surroundings or Surroundings()
        self._address = ""
        self._keeper = Keeper(
            directory,
            policy,
            self._surroundings,
            compact_secs,
            on_open=self._opened,
            on_leadership=self._leads,
            on_leader=self._led_by,
            on_start_failed=self._start_failed,
        )
        self._listeners: list[Callable[[Applied], None]] = []
        self._leadership: Listeners[[bool]] = Listeners()
        self._leaders: Listeners[[str]] = Listeners()
        self._forwards: Listeners[[str, bytes]] = Listeners()
        self._losses: Listeners[[str]] = Listeners()
        self._membership: Membership | None = None
        self._machine = Machine(MemoryView())
        self.build = self._surroundings.build
        self.level = FeatureLevel(
            lambda: self._machine, lambda: status.builds(self, self._membership), self.propose
        )
        self._ready: asyncio.Future[None] | None = None
        self._leader = ""
        self.exports = Exports(lambda: self._core, self._surroundings, self.fail)

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the folder and replays the log. A group of one then leads; a member of a group
        listens for the others. Raises the errors of the storage; OSError and ValueError where it
        cannot listen."""
        keeper = self._keeper
        if self._group is None:
            self._ready = asyncio.get_running_loop().create_future()
            await keeper.open()
            self._space.start()
            await self._ready
            return
        watch = LeaderWatch(self.cluster_status, asyncio.get_running_loop().time())
        self._membership = keeper.membership = Membership(
            self._group,
            self._directory,
            self._surroundings,
            note=lambda: status.note(self, self._core, self._membership),
            on_formed=keeper.open_when_formed,
            on_failure=keeper.failed,
            on_state=keeper.take_state,
            on_forward=self._forwards.tell,
            on_peer_lost=self._losses.tell,
            on_wake=lambda now: self._look(watch, now),
        )
        try:
            if self._membership.formed:
                await keeper.open()
            self._space.start()
            await self._membership.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Flushes, writes the state, closes the folder's databases."""
        await self._space.stop()
        try:
            await self.exports.stop()
            await self._keeper.stop()
        finally:
            if self._membership is not None:
                membership, self._membership = self._membership, None
                await membership.stop()

    async def hand_over(self) -> None:
        """Before a planned stop: another member takes over, if this one leads and one can (A7)."""
        if self._group is None or not self.is_leader():
            return
        handed = asyncio.get_running_loop().create_future()
        self.transfer("", Once(handed), None)
        refusal = await handed
        if refusal is not None:
            log.warning("leadership was not handed over", why=refusal.message)

    def fail(self, error: BaseException) -> None:
        """Somebody met a disk or a state that cannot be read."""
        self._keeper.fail(error)

    @property
    def stopped(self) -> asyncio.Event:
        """Set when the node cannot go on."""
        return self._keeper.stopped

    @property
    def fatal(self) -> BaseException | None:
        """Why it cannot."""
        return self._keeper.fatal

    @property
    def reopened(self) -> int:
        """How often the folder was opened again."""
        return self._keeper.reopened

    @property
    def _driver(self) -> Driver:
        """Only where `unavailable` says nothing."""
        assert self._core is not None
        return self._core.driver

    @property
    def _core(self) -> Core | None:
        return self._keeper.core

    def _opened(self, core: Core) -> None:
        self._machine = core.applier.machine
        for listener in self._listeners:
            core.applier.subscribe(listener)

    def _look(self, watch: LeaderWatch, now: float) -> None:
        watch.look(self._leader, now)
        self.level.look(now)

    def _start_failed(self, error: BaseException) -> bool:
        if self._ready is None or self._ready.done():
            return False
        self._ready.set_exception(error)
        return True

    def _leads(self, leads: bool) -> None:
        core = self._core
        noop_index = core.raft.noop_index if leads and core is not None else 0
        self.level.leads(noop_index, asyncio.get_running_loop().time())
        if leads and core is not None and core.applier.machine.settings != self._settings:
            # Only then ready: the first Hello must not tell the limits of yesterday.
            self.propose(Configure(self._settings.as_map()), Configured(self._is_ready), None)
        elif leads:
            self._is_ready()
        self._leadership.tell(leads)

    def _is_ready(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

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
            return self.removed()
        text = "the node's disk failed and is being opened again"
        if core is None and self._membership is not None and not self._membership.formed:
            text = self._membership.obstacle
        return refuse(ErrorCode.UNAVAILABLE, text, RETRY_MS)

    def removed(self) -> Refusal | None:
        """Why this node serves nobody any more, or None (A10)."""
        why = "" if self._membership is None else self._membership.removed
        return refuse(ErrorCode.UNAVAILABLE, why, RETRY_MS) if why else None

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
        refusal = self.unavailable() or too_early(command, self._machine.level)
        if refusal is not None:
            sink.deliver(tag, refusal)
        else:
            self._driver.propose(command, sink, tag)

    def read_barrier(self, sink: Sink, tag: Any) -> None:
        """`sink.deliver(tag, None)` when `machine` shows everything acknowledged before (A6), or a
        `Refusal`: a majority still follows this leader, and it has applied what was committed."""
        refusal = self.unavailable()
        if refusal is not None:
            sink.deliver(tag, refusal)
        else:
            self._driver.read(Reader(sink, tag))

    def transfer(self, target: str, sink: Sink, tag: Any) -> None:
        """A7: hands leadership to `target`, or where it is empty to whoever has most of the log.
        `sink.deliver(tag, None)` when another node leads, or a `Refusal` that says why not."""
        refusal = self.unavailable()
        if refusal is not None:
            sink.deliver(tag, refusal)
        else:
            self._driver.transfer(target, lambda refusal: sink.deliver(tag, refusal))

    def change_members(self, change: AddMember | RemoveMember) -> MemberChange | Refusal:
        """At the leader: begins to add or remove a node, or says how far that is (A10)."""
        why_not = self.unavailable()
        if why_not is None and isinstance(change, AddMember):
            why_not = self.level.under_way()
        return why_not or self._driver.change_members(change)

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
        self._leaders.tell(leader)

    def members(self) -> list[tuple[str, str]]:
        """(node id, client address) of every member; the address is empty where not heard yet."""
        if self._membership is None:
            return [(self.node_id, self._address)]
        return self._membership.addresses(self._address)

    def send(self, peer_id: str, payload: bytes) -> bool:
        """Sends to the server of another node; false where there is no connection. What is sent may
        be lost: `on_peer_lost` tells when."""
        return self._membership is not None and self._membership.forward(peer_id, payload)

    def trusts(self, peer_id: str) -> bool:
        """Whether what that node passes on is carried out: a member's, or of one that is added."""
        return self._membership is not None and self._membership.trusts(peer_id)

    def on_forward(self, listener: Callable[[str, bytes], None]) -> None:
        """`listener(peer_id, payload)` hears what the servers of other nodes send."""
        self._forwards.append(listener)

    def on_peer_lost(self, listener: Callable[[str], None]) -> None:
        """`listener(peer_id)` hears that what was under way to or from a peer may be lost."""
        self._losses.append(listener)

    def growth_refused(self) -> Refusal | None:
        """Why what grows is refused, or None (L6)."""
        core = self._core
        if core is not None and core.driver.unlooked_bytes >= LOOK_BYTES:
            core.driver.unlooked_bytes = 0
            self._space.look()
        return self._space.refusal

    def vitals(self) -> Vitals:
        """How far it has come, and what it owes: for the probes."""
        return vitals(self, self._core, self._directory.recovery)

    def cluster_status(self) -> ClusterStatus:
        """The cluster as this node knows it now."""
        return status.cluster_status(self, self._core, self._membership)

    def _owed_bytes(self) -> int:
        return 0 if self._core is None else self._core.driver.owed_bytes

    def free_bytes(self) -> int:
        """Free space for the data folder, as of the last look."""
        return self._space.free_bytes

    def in_flight_bytes(self) -> int:
        """Bytes of entries that wait for the disk."""
        return 0 if self._core is None else self._core.driver.in_flight_bytes

    def entries_sent(self) -> int:
        """To all others together, as leader of the present term."""
        leading = None if self._core is None else self._core.consensus.leading
        return 0 if leading is None else sum(peer.sent_count for peer in leading.peers.values())
