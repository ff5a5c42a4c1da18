"""Slow work on the disk, beside the driver: giving back space, and looking for silent damage.

Runs in a thread of its own at a low pace; LevelDB does the work outside the interpreter lock.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import structlog

from cluster.replication.core import Core
from cluster.storage.errors import DataDamaged, StorageError
from taskq.machine import keys

log = structlog.get_logger(__name__)

# L3: everything is read once a day; one table (2 MiB) at a time, with a pause after each.
SCRUB_INTERVAL_SECS = 86_400.0
# The first one sooner: a node that is restarted every day would never see one.
SCRUB_FIRST_SECS = 3_600.0
SCRUB_PAUSE_SECS = 0.05

# Families whose keys go from the front, because they are ordered by time, place or id.
_DRAINED = (
    *(keys.READY, keys.DUE_ELAPSED, keys.DUE_WALL, keys.WAITING, keys.TTL, keys.CLAIM),
    *(keys.FINISHED, keys.DEAD, keys.FORGOTTEN, keys.FORGET_DUE),
    *(keys.TASK, keys.PAYLOAD, keys.RESULT, keys.ATTEMPT),
)


def compact(core: Core) -> None:
    """Gives the space of dropped log entries and of emptied ranges of the state back; blocks.

    Only ranges before the first key that is left (L7): the rest would be rewritten for nothing.
    """
    core.log.compact()
    for family in _DRAINED:
        left = core.state.scan(family, None, 1)
        stop = left[0][0] if left else bytes((family[0] + 1,))
        core.state.compact(family, stop)


class Upkeep:
    """Compacts every `compact_secs` (None: never) and scrubs once a day, until cancelled."""

    def __init__(self, core: Core, compact_secs: float | None) -> None:
        self._core = core
        self._compact_secs = compact_secs
        self._executor = ThreadPoolExecutor(1, "upkeep")
        self.compactions = 0
        self.scrubbed_tables = 0

    async def run(self) -> None:
        """Until cancelled. Raises DataDamaged when the scrub finds damage."""
        duties = [asyncio.create_task(self._scrub_daily())]
        if self._compact_secs is not None:
            duties.append(asyncio.create_task(self._compact_regularly(self._compact_secs)))
        try:
            await asyncio.gather(*duties)
        finally:
            for duty in duties:
                duty.cancel()
            try:
                await asyncio.gather(*duties, return_exceptions=True)
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, self._executor.shutdown)
            finally:
                # A database must not be closed under a compaction, even if this is cancelled twice.
                self._executor.shutdown(wait=True)

    async def _compact_regularly(self, interval_secs: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(interval_secs)
            started = loop.time()
            try:
                await loop.run_in_executor(self._executor, compact, self._core)
            except DataDamaged:
                raise
            except StorageError as error:
                log.warning("compaction failed", error=str(error))
                continue
            self.compactions += 1
            log.debug("compacted", secs=round(loop.time() - started, 3))

    async def _scrub_daily(self) -> None:
        loop = asyncio.get_running_loop()
        pause_secs = SCRUB_FIRST_SECS
        while True:
            await asyncio.sleep(pause_secs)
            pause_secs = SCRUB_INTERVAL_SECS
            for store in (self._core.log, self._core.state):
                tables = store.scrub()
                while await loop.run_in_executor(self._executor, next, tables, None) is not None:
                    self.scrubbed_tables += 1
                    await asyncio.sleep(SCRUB_PAUSE_SECS)
