"""Brings the log to disk: one synced batch at a time, in an executor of its own.

With `durability: interval` clients do not wait for it: entries count as held at once and are synced
in time. Term, vote and truncation are waited for all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future

from cluster.replication.journal import LogJournal
from cluster.storage.log_store import LogStore


class LogWriter:
    """See the module. `interval_secs`: 0 for durability fsync, else how long an acknowledged entry
    may wait for the disk. `on_flushed()`: something more is on disk; `on_failure(error)`: nothing
    is written any more; `wake()`: a round is due."""

    def __init__(
        self,
        journal: LogJournal,
        store: LogStore,
        executor: Executor,
        interval_secs: float,
        *,
        on_flushed: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        wake: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._store = store
        self._executor = executor
        self._interval_secs = interval_secs
        self._on_flushed = on_flushed
        self._on_failure = on_failure
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._write: Future[None] | None = None
        self._begun_at = 0.0
        self.written_count = 0
        self._interval_over = True

    @property
    def busy(self) -> bool:
        """Whether what is proposed now would only wait for the next write inside the journal."""
        return self._write is not None and not self._interval_secs

    @property
    def writing(self) -> bool:
        """Whether a write is under way."""
        return self._write is not None

    def stuck_secs(self) -> float:
        """How long the write that is under way has taken; 0 for none."""
        return 0.0 if self._write is None else self._loop.time() - self._begun_at

    def begin(self) -> None:
        """Writes what waits, if nothing is being written."""
        journal = self._journal
        if not journal.dirty:
            return
        if self._interval_secs and journal.only_entries:
            # Nobody waits for these entries: they count as held, and are synced in time.
            journal.count_unflushed()
            if not self._interval_over:
                return
        if self._write is not None:
            return
        if self._interval_secs:
            self._interval_over = False
            self._loop.call_later(self._interval_secs, self._interval_ended)
        batch, last_index = journal.take_pending()
        self._begun_at = self._loop.time()
        # Not by `run_in_executor`, whose future costs one more round of the loop.
        self._write = self._executor.submit(self._store.write, batch)
        self._write.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._written, done, last_index)
        )

    def hurry(self) -> None:
        """Does not wait for the interval to end."""
        self._interval_over = True
        self._wake()

    def _interval_ended(self) -> None:
        self.hurry()

    def _written(self, done: Future[None], last_index: int) -> None:
        self._write = None
        self.written_count += 1
        error = done.exception()
        if error is not None:
            self._on_failure(error)
            return
        self._journal.flushed(last_index)
        self._on_flushed()

    async def settle(self) -> None:
        """Waits for the write that is under way, whatever becomes of it."""
        if self._write is not None:
            # Its error is `_written`'s.
            await asyncio.gather(asyncio.wrap_future(self._write), return_exceptions=True)

    def close(self) -> None:
        """Waits for what is under way: no database may be closed while it is written to."""
        self._executor.shutdown(wait=True)
