"""A submitted task of an app: what became of it, with its result as a Python value."""

# A `timeout` here is the deadline of a request, which the repeats share; cancelling from outside,
# which the rule asks for, could not tell a request that was never sent from one that was.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar
from uuid import UUID

from taskq.client import AsyncClient, Client
from taskq.client.loop_thread import loop_thread
from taskq.client.moment import Duration
from taskq.client.views import CancelStatus, TaskStatus
from taskq.worker.codec import CONTENT_TYPE_HEADER, codec_of

Reply = TypeVar("Reply")

# Reads a result. None: nobody knows how it was written, and the task's headers must be asked.
Decode = Callable[[bytes], Any]


async def on_client_loop(coroutine: Coroutine[Any, Any, Reply]) -> Reply:
    """Runs a coroutine of a client on the loop that all clients of a process share, and waits for
    it on the caller's."""
    future = asyncio.run_coroutine_threadsafe(coroutine, loop_thread().loop)
    return await asyncio.wrap_future(future)


async def _result(
    client: AsyncClient, task_id: bytes, decode: Decode | None, timeout: Duration | None
) -> Any:
    data = await client.result(task_id, timeout=timeout)
    if data is None:
        return None
    if decode is None:
        headers = (await client.status(task_id)).headers
        codec = codec_of(headers.get(CONTENT_TYPE_HEADER))
        return data if codec is None else codec.decode(data)
    return decode(data)


class _Asked:
    """A task and the client that asks for it."""

    __slots__ = ("_client", "_decode", "_id")

    def __init__(self, client: Client, task_id: bytes, decode: Decode | None) -> None:
        self._client = client
        self._id = task_id
        self._decode = decode

    @property
    def id(self) -> UUID:
        """The task's id: `app.handle(id)` is this handle again, in any process."""
        return UUID(bytes=self._id)

    def _ask_result(self, timeout: Duration | None) -> Coroutine[Any, Any, Any]:
        return _result(self._client.core, self._id, self._decode, timeout)

    def __await__(self) -> Generator[Any, None, Any]:
        return on_client_loop(self._ask_result(None)).__await__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class Handle(_Asked):
    """A task that was submitted. Its methods block; `await handle` waits for the result."""

    __slots__ = ()

    def result(self, timeout: Duration | None = None) -> Any:
        """Waits for the task to end, at most `timeout` (default: as long as it takes); what the
        function returned, tuples as lists; None where no result is kept.

        Raises TaskFailed with the traceback of the last attempt, TaskCancelled, TaskExpired,
        TimeoutError, or NotFound.
        """
        return loop_thread().run(self._ask_result(timeout))

    def status(self) -> TaskStatus:
        """All that is known of the task. Raises NotFound."""
        return self._client.status(self._id)

    def cancel(self, force: bool = False) -> CancelStatus:
        """Cancels a waiting task at once and asks a running one to stop; `force` does not wait
        for its worker. Raises NotFound."""
        return self._client.cancel(self._id, force=force)


class AsyncHandle(_Asked):
    """A task that was submitted, for asyncio code. `await handle` waits for the result."""

    __slots__ = ()

    async def result(self, timeout: Duration | None = None) -> Any:
        """See `Handle.result`."""
        return await on_client_loop(self._ask_result(timeout))

    async def status(self) -> TaskStatus:
        """All that is known of the task. Raises NotFound."""
        return await on_client_loop(self._client.core.status(self._id))

    async def cancel(self, force: bool = False) -> CancelStatus:
        """See `Handle.cancel`."""
        return await on_client_loop(self._client.core.cancel(self._id, force=force))
