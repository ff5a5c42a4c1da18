"""`Client`: the methods of `AsyncClient`, each run on the process's client loop and waited for.

No behaviour of its own: `blocking` turns a coroutine method into a blocking one of the same
signature. Safe across threads, and in a forked child, which connects by itself.
"""

from __future__ import annotations

import functools
import inspect
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from taskq.client.asynchronous import PAGE_COUNT, TIMEOUT_SECONDS, AsyncClient
from taskq.client.handle import AsyncTaskHandle, TaskHandle
from taskq.client.identifier import TaskIdLike, task_id_bytes
from taskq.client.loop_thread import loop_thread
from taskq.client.moment import Duration
from taskq.client.tls import FilePath
from taskq.client.worker_session import AsyncWorkerSession
from taskq.commands import CancelRequested
from taskq.errors import TaskqError

P = ParamSpec("P")
Reply = TypeVar("Reply")
Shown = TypeVar("Shown")
Core = TypeVar("Core")


def blocking(
    method: Callable[Concatenate[Core, P], Coroutine[Any, Any, Reply]],
) -> Callable[Concatenate[Any, P], Reply]:
    """A method of a blocking class that runs `method` of its asyncio core and waits."""

    @functools.wraps(method)
    def waits(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Reply:
        return loop_thread().run(method(self.core, *args, **kwargs))

    return waits


def _returning(function: Callable[P, Shown], kind: str) -> Callable[P, Shown]:
    """Lets editors and `help` show what a method returns here, not what its asyncio core does."""
    function.__annotations__ = {**function.__annotations__, "return": kind}
    signature = inspect.signature(function)
    function.__signature__ = signature.replace(return_annotation=kind)  # type: ignore[attr-defined]
    return function


def converting(
    method: Callable[Concatenate[Core, P], Coroutine[Any, Any, Reply]],
    convert: Callable[[Any, Reply], Shown],
) -> Callable[Concatenate[Any, P], Shown]:
    """Like `blocking`; the reply is shown as `convert(self, reply)`."""

    @functools.wraps(method)
    def waits(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Shown:
        return convert(self, loop_thread().run(method(self.core, *args, **kwargs)))

    return _returning(waits, convert.__annotations__["return"])


def iterating(
    method: Callable[Concatenate[Core, P], AsyncIterator[Reply]],
) -> Callable[Concatenate[Any, P], Iterator[Reply]]:
    """A generator over what the asynchronous one of `method` yields, fetched in pieces."""

    @functools.wraps(method)
    def iterates(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Reply]:
        source = method(self.core, *args, **kwargs)
        while piece := loop_thread().run(_piece(source)):
            yield from piece

    kind = iterates.__annotations__["return"].removeprefix("Async")
    return _returning(iterates, kind)


async def _piece(source: AsyncIterator[Reply]) -> list[Reply]:
    piece = []
    async for value in source:
        piece.append(value)
        if len(piece) == PAGE_COUNT:
            break
    return piece


def _handle(client: Client, handle: AsyncTaskHandle) -> TaskHandle:
    return TaskHandle(client, handle.id.bytes)


def _handles(
    client: Client, outcomes: list[AsyncTaskHandle | TaskqError]
) -> list[TaskHandle | TaskqError]:
    return [
        outcome if isinstance(outcome, TaskqError) else _handle(client, outcome)
        for outcome in outcomes
    ]


class Client:
    """Talks to a cluster from ordinary code; the same arguments and errors as `AsyncClient`.

    All clients of a process share one background thread, which starts at the first call. Ctrl-C
    in a call raises KeyboardInterrupt at once and leaves the client usable.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: Duration = TIMEOUT_SECONDS,
        name: str | None = None,
        ca_file: FilePath | None = None,
        cert_file: FilePath | None = None,
        key_file: FilePath | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        tls: dict[str, Any] = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
        self.core = AsyncClient(url, timeout=timeout, name=name, ssl_context=ssl_context, **tls)

    def __repr__(self) -> str:
        return f"<Client {self.core.channel}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends open calls and the connection. A second close does nothing."""
        link = self.core.channel.end()
        if link is not None:
            loop_thread().run(link.close())

    submit = converting(AsyncClient.submit, _handle)
    submit_spec = converting(AsyncClient.submit_spec, _handle)
    submit_many = converting(AsyncClient.submit_many, _handles)
    tasks = iterating(AsyncClient.tasks)
    dead = iterating(AsyncClient.dead)
    call = blocking(AsyncClient.call)
    status = blocking(AsyncClient.status)
    result = blocking(AsyncClient.result)
    cancel = blocking(AsyncClient.cancel)
    stats = blocking(AsyncClient.stats)
    queues = blocking(AsyncClient.queues)
    workers = blocking(AsyncClient.workers)
    create_queue = blocking(AsyncClient.create_queue)
    pause_queue = blocking(AsyncClient.pause_queue)
    resume_queue = blocking(AsyncClient.resume_queue)
    purge_queue = blocking(AsyncClient.purge_queue)
    delete_queue = blocking(AsyncClient.delete_queue)
    redrive = blocking(AsyncClient.redrive)
    delete_dead = blocking(AsyncClient.delete_dead)
    ping = blocking(AsyncClient.ping)

    def task(self, task_id: TaskIdLike) -> TaskHandle:
        """The handle of a task that was submitted before, perhaps elsewhere. Asks nothing yet."""
        return TaskHandle(self, task_id_bytes(task_id))

    def worker(
        self,
        *,
        name: str = "",
        concurrency: int = 1,
        heartbeat_interval: Duration = 15.0,
        on_cancel: Callable[[CancelRequested], None] | None = None,
    ) -> WorkerSession:
        """A worker's side of the protocol under a new random worker id.

        `on_cancel` is called in the background thread and must return quickly.
        """

        async def make() -> AsyncWorkerSession:
            return self.core.worker(
                name=name,
                concurrency=concurrency,
                heartbeat_interval=heartbeat_interval,
                on_cancel=on_cancel,
            )

        return WorkerSession(loop_thread().run(make()))


class WorkerSession:
    """One worker, through a `Client`; see `AsyncWorkerSession`. Made by `Client.worker`."""

    def __init__(self, core: AsyncWorkerSession) -> None:
        self.core = core

    @property
    def worker_id(self) -> bytes:
        """16 random bytes."""
        return self.core.worker_id

    register = blocking(AsyncWorkerSession.register)
    deregister = blocking(AsyncWorkerSession.deregister)
    claim = blocking(AsyncWorkerSession.claim)
    complete = blocking(AsyncWorkerSession.complete)
    complete_many = blocking(AsyncWorkerSession.complete_many)
    fail = blocking(AsyncWorkerSession.fail)
    release = blocking(AsyncWorkerSession.release)
    extend = blocking(AsyncWorkerSession.extend)
    heartbeat = blocking(AsyncWorkerSession.heartbeat)
