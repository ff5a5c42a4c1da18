"""Everything that is built from the data folder: stores, journal, Raft, applier, driver.

Thrown away whole when the disk fails, and built again from what the disk then holds (L2): after a
failed write no object in here can be trusted to say what is durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from cluster.replication.applier import Applier
from cluster.replication.checkpoint import Checkpoints
from cluster.replication.clock import ClusterClock
from cluster.replication.driver import Driver
from cluster.replication.journal import LogJournal
from cluster.replication.raft import Raft
from cluster.storage.directory import DataDirectory
from cluster.storage.log_store import LogStore, Opened
from cluster.storage.state_store import StateStore

notes = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DiskPolicy:
    """How the disk is used. `sync_interval_secs` 0: durability fsync."""

    sync_interval_secs: float
    checkpoint_interval_secs: float
    checkpoint_size: int


class Core:
    """An open node; see the module. `opened`: how the log was found."""

    def __init__(
        self,
        directory: DataDirectory,
        policy: DiskPolicy,
        on_failure: Callable[[BaseException], None],
        on_leadership: Callable[[bool], None],
    ) -> None:
        """Opens both databases. Raises the errors of `DataDirectory.open_stores`."""
        self.log: LogStore
        self.state: StateStore
        self.log, self.state = directory.open_stores()
        if 1 < self.state.index > self.log.last_index:
            # A repair or a restored backup; what the lost entries did is in the state.
            notes.error(
                "the log ends before the state and goes on from there (rule A12)",
                log_ends_at=self.log.last_index,
                state_is_at=self.state.index,
            )
        elif self.state.index <= 1 < self.log.last_index:
            # Lost, or never written: a young node that crashed. Complete, but worth a line.
            notes.warning(
                "the state is empty: it is built again from the log",
                log_ends_at=self.log.last_index,
            )
        try:
            self.applier = Applier(self.state)
            journal = LogJournal(self.log)
            self.raft = Raft(
                directory.identity.node_id,
                journal,
                self.state.index,
                self.state.terms,
                self.applier.apply,
                self.applier.applied,
            )
            self.driver = Driver(
                self.raft,
                journal,
                self.log,
                self.applier,
                ClusterClock(time.monotonic, time.time),
                sync_interval_secs=policy.sync_interval_secs,
                checkpoints=Checkpoints(
                    policy.checkpoint_interval_secs, policy.checkpoint_size, time.monotonic()
                ),
                on_failure=on_failure,
                on_leadership=on_leadership,
            )
        except BaseException:
            self._close_stores()
            raise

    @property
    def opened(self) -> Opened:
        """How the log was found at opening."""
        return self.log.opened

    async def close(self) -> None:
        """Flushes and writes what there is, unless the disk failed; releases the folder's files."""
        try:
            await self.driver.stop()
        finally:
            self._close_stores()

    def _close_stores(self) -> None:
        self.log.close()
        self.state.close()
