"""Free space of the data folder, looked at once a second and after each MiB of entries (L6).

Below the reserve the broker refuses what grows (submit, redrive, large results); completions,
releases, heartbeats, expiry and retention go on and use the reserve, so that the queue drains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from taskq.errors import ErrorCode, Refusal, refuse

log = structlog.get_logger(__name__)

LOOK_SECS = 1.0
# A second of large payloads could use up the whole reserve: look after so many bytes, too.
LOOK_BYTES = 1 << 20
RETRY_MS = 5_000
# Space must be so much above the reserve before what grows is taken again: no flapping.
HYSTERESIS = 1.05


class DiskSpace:
    """Watches `free()` (bytes). `refusal`: what growth is answered with, or None.

    `owed`: bytes that were taken on and are not written yet; they count as used.
    """

    def __init__(self, free: Callable[[], int], reserve_bytes: int) -> None:
        self._free = free
        self._reserve_bytes = reserve_bytes
        self.owed: Callable[[], int] = lambda: 0
        self._task: asyncio.Task[None] | None = None
        self.free_bytes = 0
        self.refusal: Refusal | None = None

    def start(self) -> None:
        """Looks now, and once a second from now on."""
        self.look()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Looks no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look(self) -> None:
        """Reads the free space and decides."""
        try:
            self.free_bytes = self._free()
        except OSError as error:
            log.warning("cannot read the free disk space", error=str(error))
            return
        left = max(self.free_bytes - self.owed(), 0)
        if left < self._reserve_bytes and self.refusal is None:
            text = (
                f"the disk has {left} bytes left, less than the reserve of"
                f" {self._reserve_bytes} (persistence.disk_reserve_bytes)"
            )
            self.refusal = refuse(ErrorCode.DISK_FULL, text, RETRY_MS)
            log.error("disk nearly full: what grows is refused", free_bytes=self.free_bytes)
        elif self.refusal is not None and left >= self._reserve_bytes * HYSTERESIS:
            self.refusal = None
            log.warning("disk has room again", free_bytes=self.free_bytes)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECS)
            self.look()
