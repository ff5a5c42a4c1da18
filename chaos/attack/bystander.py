"""A well-behaved client, served all the time: it submits, claims and completes, task after task."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType

from chaos.attack.scene import Scene
from taskq import AsyncClient, TaskqError

QUEUE = "bystander"
# The machine is the attackers', too.
PAUSE_SECS = 0.02


class Bystander:
    """A block in which it is there. `served`: life cycles since `begin`, `worst_secs`: the longest
    of them, `failures`: what went wrong, in words."""

    def __init__(self, scene: Scene) -> None:
        self._client: AsyncClient = scene.client("admin")
        self._task: asyncio.Task[None] | None = None
        self.begin()

    def begin(self) -> None:
        """Counts from now on."""
        self.served = 0
        self.worst_secs = 0.0
        self.failures: list[str] = []

    async def __aenter__(self) -> Bystander:
        await self._client.__aenter__()
        self._task = asyncio.create_task(self._live())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._client.__aexit__(kind, error, traceback)

    async def _live(self) -> None:
        worker = self._client.worker(name="bystander")
        await worker.register()
        while True:
            started = time.monotonic()
            try:
                await self._client.submit(QUEUE, b"bystander")
                for task in await worker.claim([QUEUE], wait=10):
                    await worker.complete(task, b"done")
                    self.served += 1
            except TaskqError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.worst_secs = max(self.worst_secs, time.monotonic() - started)
            await asyncio.sleep(PAUSE_SECS)

    async def is_served(self, within_secs: float) -> bool:
        """Whether one more life cycle, begun later, comes to its end."""
        before, ends = self.served, time.monotonic() + within_secs
        while self.served < before + 2 and time.monotonic() < ends:  # noqa: ASYNC110  # both
            await asyncio.sleep(PAUSE_SECS)
        return self.served >= before + 2
