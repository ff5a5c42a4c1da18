"""A task that was submitted: its id and what can be asked of it. Keeps nothing else."""

# A `timeout` here is the deadline of a request, which the repeats share; cancelling from outside,
# which the rule asks for, could not tell a request that was never sent from one that was.
# ruff: noqa: ASYNC109

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from taskq.client.moment import Duration
from taskq.client.views import CancelStatus, TaskStatus

if TYPE_CHECKING:
    from taskq.client.asynchronous import AsyncClient
    from taskq.client.blocking import Client


class AsyncTaskHandle:
    """A task, asked through an `AsyncClient`. `await handle` waits for the result."""

    __slots__ = ("_client", "_id")

    def __init__(self, client: AsyncClient, task_id: bytes) -> None:
        self._client = client
        self._id = task_id

    @property
    def id(self) -> UUID:
        """The task's id."""
        return UUID(bytes=self._id)

    async def status(self) -> TaskStatus:
        """All that is known of the task. Raises NotFound."""
        return await self._client.status(self._id)

    async def result(self, timeout: Duration | None = None) -> bytes | None:
        """See `AsyncClient.result`."""
        return await self._client.result(self._id, timeout=timeout)

    async def cancel(self, force: bool = False) -> CancelStatus:
        """See `AsyncClient.cancel`."""
        return await self._client.cancel(self._id, force=force)

    def __await__(self) -> Generator[Any, None, bytes | None]:
        return self.result().__await__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncTaskHandle) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"<AsyncTaskHandle {self.id}>"


class TaskHandle:
    """A task, asked through a `Client`."""

    __slots__ = ("_client", "_id")

    def __init__(self, client: Client, task_id: bytes) -> None:
        self._client = client
        self._id = task_id

    @property
    def id(self) -> UUID:
        """The task's id."""
        return UUID(bytes=self._id)

    def status(self) -> TaskStatus:
        """All that is known of the task. Raises NotFound."""
        return self._client.status(self._id)

    def result(self, timeout: Duration | None = None) -> bytes | None:
        """See `AsyncClient.result`."""
        return self._client.result(self._id, timeout=timeout)

    def cancel(self, force: bool = False) -> CancelStatus:
        """See `AsyncClient.cancel`."""
        return self._client.cancel(self._id, force=force)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id}>"
