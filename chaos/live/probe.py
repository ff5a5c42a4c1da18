"""A client that submits one task every 10 ms, whatever happens: it tells when there is service.

An open loop: each submit is a task of its own and waits for none before it.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import Any

from chaos.history import Call
from chaos.live.recorder import Recorder
from taskq import AsyncClient
from taskq.client.identifier import new_task_id

INTERVAL_SECS = 0.01
QUEUE = "probe"
TIMEOUT_SECS = 60.0


class Probe:
    """Probes `url` between `start` and `stop`; its calls go to `recorder`, too."""

    def __init__(self, url: str, recorder: Recorder, *, timeout_secs: float = TIMEOUT_SECS) -> None:
        self._client = AsyncClient(url, timeout=timeout_secs, name="probe")
        self._recorder = recorder
        self._running: asyncio.Task[None] | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.calls: list[Call] = []
        # (when, how much too late), in seconds: this process was busy, or was not run at all.
        self.late: list[tuple[float, float]] = []

    def start(self) -> None:
        """The first probe goes out at once."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Waits for the answers that are open; raises what ended the probe before its time."""
        assert self._running is not None
        self._stopping = True
        await self._running
        await asyncio.gather(*self._open)
        await self._client.close()

    @property
    def acks(self) -> list[float]:
        """When probes were acknowledged, in ascending order."""
        return sorted(call.end for call in self.calls if call.ok)

    def failed(self, since: float = 0.0) -> list[Call]:
        """Probes begun at `since` or later that ended in anything else."""
        return [one for one in self.calls if one.end and not one.ok and one.start >= since]

    def lateness(self, since: float, until: float) -> float:
        """The most that a probe of that time was sent too late."""
        return max((secs for when, secs in self.late if since <= when <= until), default=0.0)

    async def served_after(self, moment: float, timeout_secs: float) -> float:
        """Waits for the acknowledgement of a probe that began after `moment`; when that came.
        Raises TimeoutError."""
        place = len(self.calls)
        while place and self.calls[place - 1].start >= moment:
            place -= 1
        async with asyncio.timeout(timeout_secs):
            while True:
                found = [call.end for call in self.calls[place:] if call.ok]
                if found:
                    return min(found)
                await asyncio.sleep(INTERVAL_SECS)

    async def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping:
            now = time.monotonic()
            if now < due:
                await asyncio.sleep(due - now)
                continue
            self.late.append((now, now - due))
            due += INTERVAL_SECS
            one = asyncio.create_task(self._submit())
            self._open.add(one)
            one.add_done_callback(self._ended)

    def _ended(self, one: asyncio.Task[None]) -> None:
        if not one.cancelled() and one.exception() is None:  # else `stop` raises it
            self._open.discard(one)

    async def _submit(self) -> None:
        task_id = new_task_id()
        args: dict[str, Any] = {
            "id": task_id.hex(),
            "queue": QUEUE,
            "priority": 128,
            "size": len(task_id),
            "crc": zlib.crc32(task_id),
            "delay_secs": 0.0,
        }
        request = self._client.submit(QUEUE, task_id, priority=128, task_id=task_id)
        await self._recorder.run(
            self._client, "submit", args, request, lambda _: {}, self.calls.append
        )
