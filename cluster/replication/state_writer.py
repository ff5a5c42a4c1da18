"""Brings the state to disk behind the log, and lets the log forget what the state covers.

Written about once a second (`WRITE_BEHIND_SECS`), in an executor of its own. The driver calls
`begin` once per round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import structlog

from cluster.replication.applier import WRITE_BEHIND_SECS, Applier
from cluster.replication.checkpoint import Checkpoints
from cluster.replication.journal import LogJournal
from cluster.storage.errors import StorageFailed

log = structlog.get_logger(__name__)


class StateWriter:
    """See the module. `on_written()`: the log may have been cut. `on_failure(error)`: nothing is
    written any more."""

    def __init__(
        self,
        applier: Applier,
        journal: LogJournal,
        checkpoints: Checkpoints,
        executor: Executor,
        *,
        on_written: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._applier = applier
        self._journal = journal
        self._checkpoints = checkpoints
        self._executor = executor
        self._on_written = on_written
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        # A frozen layer of the state, and the index that the log must hold before it is written.
        self._frozen: tuple[int, Callable[[], None]] | None = None
        self._written_at = self._loop.time()
        self.write: asyncio.Future[None] | None = None  # under way
        self.written_count = 0

    def begin(self) -> None:
        """Writes what is large or old enough, if nothing is being written."""
        if self.write is not None:
            return
        applier = self._applier
        if self._frozen is None:
            now = self._loop.time()
            if not applier.unwritten:
                return
            if not applier.wants_write and now - self._written_at < WRITE_BEHIND_SECS:
                return
            self._written_at = now
            self._frozen = (applier.index, applier.begin_write())
        index, write = self._frozen
        # Never ahead of the log. With durability `interval` the applied index is always ahead of
        # the synced one under load; a frozen layer stands still until the log has caught up.
        if self._journal.synced_index < index:
            return
        self.write = self._loop.run_in_executor(self._executor, write)
        self._frozen = None
        self.write.add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        self.write = None
        self.written_count += 1
        error = future.exception()
        if error is not None:
            self._on_failure(error)
            return
        self._applier.end_write()
        now, written = self._loop.time(), self._applier.written_index
        start = self._checkpoints.due(now, self._journal, written)
        if start is not None:
            self._journal.drop_below(start)
            self._on_written()

    async def finish(self) -> None:
        """The last writes, after the log was flushed; what it has not flushed (the disk did not get
        so far, the answers did not wait for it) is not written either. Nothing is under way."""
        applier = self._applier
        try:
            if self._frozen is not None and not await self._finish(*self._frozen):
                return
            if applier.unwritten and applier.index <= self._journal.synced_index:
                await self._finish(applier.index, applier.begin_write())
        except StorageFailed as error:
            log.error("the state could not be written; the log has it", error=str(error))

    async def _finish(self, index: int, write: Callable[[], None]) -> bool:
        if index > self._journal.synced_index:
            return False
        await self._loop.run_in_executor(self._executor, write)
        self._applier.end_write()
        return True

    def close(self) -> None:
        """Waits for what is under way: no database may be closed while it is written to."""
        self._executor.shutdown(wait=True)
