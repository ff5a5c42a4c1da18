"""The worker's `Link` through the client library, which repeats, numbers claims and reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from taskq.client import AsyncClient
from taskq.client.batch import batch_answers
from taskq.commands import CancelRequested, ExtendLease, Nack, TaskResult, TaskResults
from taskq.errors import TaskqError
from taskq.results import ClaimedTask, HeartbeatReply
from taskq.worker.held import HEARTBEAT_REPEAT_SECS


class ClusterLink:
    """A `Link` through the client library."""

    def __init__(
        self,
        url: str | None,
        name: str,
        concurrency: int,
        heartbeat_interval_secs: float,
        lease_secs: float | None,
    ) -> None:
        self.on_cancel: Callable[[int], None] | None = None
        self._lease = lease_secs
        self._client = AsyncClient(url, name=name)
        self._session = self._client.worker(
            name=name,
            concurrency=concurrency,
            heartbeat_interval=heartbeat_interval_secs,
            on_cancel=self._cancelled,
        )

    def _cancelled(self, push: CancelRequested) -> None:
        if self.on_cancel is not None:
            self.on_cancel(push.token)

    async def register(self) -> None:
        """See `Link`."""
        await self._session.register()

    async def claim(
        self, queues: Sequence[str], max_tasks: int, wait_secs: float
    ) -> list[ClaimedTask]:
        """See `Link`."""
        return await self._session.claim(
            list(queues), max_tasks=max_tasks, wait=wait_secs, lease=self._lease
        )

    async def heartbeat(
        self, tokens: list[int], cpu_permille: int, memory_size: int
    ) -> HeartbeatReply:
        """See `Link`."""
        # Ends just before the worker's own limit, because it can say what is wrong.
        timeout_secs = HEARTBEAT_REPEAT_SECS - 0.1
        return await self._session.heartbeat(tokens, cpu_permille, memory_size, timeout_secs)

    async def send(self, outcomes: list[TaskResult]) -> list[TaskqError | None]:
        """See `Link`."""
        command = TaskResults(outcomes)
        answers = batch_answers(command, await self._client.call(command))
        return [answer if isinstance(answer, TaskqError) else None for answer in answers]

    async def release(self, releases: Sequence[Nack]) -> None:
        """See `Link`."""
        asked = [self._client.send(release) for release in releases]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, TaskqError):
                raise answer

    async def extend(self, task: ClaimedTask, lease_ms: int | None) -> int:
        """See `Link`."""
        reply = await self._client.call(ExtendLease(task.task_id, task.token, lease_ms))
        return int(reply.lease_ms)

    async def deregister(self) -> None:
        """See `Link`."""
        await self._session.deregister()

    async def close(self) -> None:
        """See `Link`."""
        await self._client.close()
