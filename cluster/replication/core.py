"""Everything that is built from the data folder: stores, journal, Raft, applier, driver.

Thrown away whole when the disk fails or a state was received, and built again from what the disk
then holds (L2, A11): after a failed write no object in here can be trusted to say what is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import structlog

from cluster.replication.applier import Applier
from cluster.replication.channels import RAFT, SNAPSHOT
from cluster.replication.checkpoint import Checkpoints
from cluster.replication.clock import ClusterClock
from cluster.replication.consensus import Consensus
from cluster.replication.driver import Driver
from cluster.replication.feature_level import unfit
from cluster.replication.group_settings import GroupSettings
from cluster.replication.journal import LogJournal
from cluster.replication.links import Links
from cluster.replication.raft import Raft
from cluster.replication.roster import Roster
from cluster.replication.snapshots.exchange import SnapshotExchange
from cluster.replication.snapshots.messages import Why
from cluster.replication.snapshots.receiver import SnapshotReceiver
from cluster.replication.snapshots.sender import SnapshotSender
from cluster.replication.surroundings import Surroundings
from cluster.replication.voters import Voters, founders
from cluster.storage.log_store import LogStore, Opened
from cluster.storage.state_store import StateStore

notes = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DiskPolicy:
    """How the disk is used. `sync_interval_secs` 0: durability fsync."""

    sync_interval_secs: float
    checkpoint_interval_secs: float
    checkpoint_size: int


@dataclass(frozen=True)
class Hooks:
    """Who hears of what: see `Driver`."""

    on_failure: Callable[[BaseException], None]
    on_leadership: Callable[[bool], None]
    on_leader: Callable[[str], None]


@dataclass(frozen=True)
class Others:
    """The rest of the group. A group of one has none. `founding`: the set that founded it.
    `on_members()`: see `Consensus`."""

    links: Links
    group: GroupSettings
    receiver: SnapshotReceiver
    founding: Voters
    on_members: Callable[[], None]


class Core:
    """An open node; see the module. `opened`: how the log was found."""

    def __init__(
        self,
        node_id: str,
        stores: tuple[LogStore, StateStore],
        policy: DiskPolicy,
        surroundings: Surroundings,
        hooks: Hooks,
        others: Others | None,
        skips: Mapping[int, int],
    ) -> None:
        """Takes over the open stores, and closes them where it raises. `skips`: of the applier."""
        self.log, self.state = stores
        self._others = others
        self._skips = skips
        self._snapshot_executor: Executor | None = None
        self.exchange: SnapshotExchange | None = None
        _tell_how_found(self.log, self.state)
        try:
            self._build(node_id, policy, surroundings, hooks)
            if others is not None:
                self._join(others, surroundings, hooks)
        except BaseException:
            self._close_stores()
            raise

    def _build(
        self, node_id: str, policy: DiskPolicy, surroundings: Surroundings, hooks: Hooks
    ) -> None:
        others, loop = self._others, asyncio.get_running_loop()
        self.applier = Applier(self.state, surroundings.build, self._skips)
        machine = self.applier.machine
        self.raft = Raft(
            node_id,
            LogJournal(self.log),
            self.state.index,
            self.state.terms,
            self.applier.apply,
            self.applier.applied,
            roster=Roster(node_id, self._voters(node_id)),
            on_voters=self.applier.set_voters,
            in_group=others is not None,
            clock=surroundings.monotonic,
        )
        clock = ClusterClock(surroundings.monotonic, surroundings.wall)
        timings: dict[str, Any] = {}
        if others is not None:
            builds, announced = others.links.builds, others.links.announced
            timings["on_members"] = others.on_members
            timings["unfit"] = lambda peer_id: unfit(peer_id, machine.level, builds)
            timings["announced"] = lambda peer_id: announced.get(peer_id, "")
            timings["election_timeout_secs"] = others.group.election_timeout_secs
            timings["heartbeat_secs"] = others.group.heartbeat_secs
        self.consensus = Consensus(
            self.raft,
            clock,
            self.applier.digests,
            stamps=lambda: (machine.elapsed_ms, machine.wall_ms),
            transmit=self._transmit,
            flush=self._flush_links,
            now=loop.time,
            rng=surroundings.random,
            on_lagging=self._lagging,
            **timings,
        )
        self.driver = Driver(
            self.consensus,
            self.log,
            self.applier,
            clock,
            sync_interval_secs=policy.sync_interval_secs,
            checkpoints=Checkpoints(
                policy.checkpoint_interval_secs,
                policy.checkpoint_size,
                loop.time(),
                held_index=self._held_index,
            ),
            on_failure=hooks.on_failure,
            on_leadership=hooks.on_leadership,
            on_leader=hooks.on_leader,
            executor=surroundings.executor,
        )

    def _voters(self, node_id: str) -> Voters:
        """The members as of the state. A group of one is its own, whatever its state was once."""
        if self._others is None:
            return founders([node_id])
        return self.applier.voters() or self._others.founding

    # --- the group --------------------------------------------------------------------------------

    def _join(self, others: Others, surroundings: Surroundings, hooks: Hooks) -> None:
        self._snapshot_executor = surroundings.executor("snapshot")
        sender = SnapshotSender(
            self._send_snapshot,
            self.state.export,
            self._snapshot_executor,
            on_installed=self._installed,
            on_ended=self._not_installed,
            on_failure=self.driver.fail,  # nothing more is written over what cannot be read
            thread_secs=surroundings.thread_secs,
        )
        self.exchange = SnapshotExchange(sender, others.receiver)
        self.consensus.on_leading_ended = sender.end_all
        self.consensus.on_term = others.receiver.new_term
        others.links.handlers[RAFT] = self.driver.receive
        for peer_id in sorted(others.links.connected()):
            self.consensus.link_up(peer_id)

    def _transmit(self, peer_id: str, message: bytes) -> bool:
        others = self._others
        return others is not None and others.links.send(RAFT, peer_id, message)

    def _flush_links(self) -> None:
        if self._others is not None:
            self._others.links.flush()

    def _send_snapshot(self, peer_id: str, message: bytes) -> bool:
        others = self._others
        return others is not None and others.links.send(SNAPSHOT, peer_id, message)

    def _lagging(self, peer_id: str) -> None:
        assert self.exchange is not None
        self.exchange.sender.begin(peer_id, self.raft.term)

    def _installed(self, peer_id: str, index: int) -> None:
        if self.consensus.leading is not None:
            self.consensus.leading.installed(peer_id, index)
        self.driver.wake()

    def _not_installed(self, peer_id: str, why: Why, applied: int) -> None:
        notes.warning("a snapshot was not installed", member=peer_id, why=why.name)
        self._installed(peer_id, applied)

    def _held_index(self) -> int | None:
        """A11: no log above the index of a snapshot under way is cut."""
        if self.exchange is None:
            return None
        held = (self.exchange.sender.held_index, self.exchange.receiver.held_index)
        return min((one for one in held if one is not None), default=None)

    # --- life -------------------------------------------------------------------------------------

    @property
    def opened(self) -> Opened:
        """How the log was found at opening."""
        return self.log.opened

    async def close(self) -> None:
        """Flushes and writes what there is, unless the disk failed; releases the folder's files."""
        try:
            await self.driver.stop()
            if self.exchange is not None:
                await self.exchange.sender.close()
        finally:
            if self._others is not None:
                self._others.links.handlers.pop(RAFT, None)
            if self._snapshot_executor is not None:
                self._snapshot_executor.shutdown(wait=True)
            self._close_stores()

    def _close_stores(self) -> None:
        self.log.close()
        self.state.close()


def _tell_how_found(log: LogStore, state: StateStore) -> None:
    if 1 < state.index > log.last_index:
        # A repair, a restored backup, a received state; what the lost entries did is in the state.
        notes.warning(
            "the log ends before the state and goes on from there (rule A12)",
            log_ends_at=log.last_index,
            state_is_at=state.index,
        )
    elif state.index <= 1 < log.last_index:
        # Lost, or never written: a young node that crashed. Complete, but worth a line.
        notes.warning(
            "the state is empty: it is built again from the log", log_ends_at=log.last_index
        )
