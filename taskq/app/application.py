"""`taskq.App`: the tasks of a program, by name; submits them, and tells workers what to run.

    import taskq

    app = taskq.App()

    @app.task(queue="images", timeout=60)
    def resize(path, width): ...

    handle = resize.submit("a.png", 200)     taskq worker images:app --concurrency 4
    handle.result(timeout=30)

Importing starts nothing; the connection is made at the first submit, one for the process.
"""

# A `timeout` here is the deadline of a request, which the repeats share; cancelling from outside,
# which the rule asks for, could not tell a request that was never sent from one that was.
# ruff: noqa: ASYNC109

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, Protocol, Self, TypeVar, overload

from taskq.app.arguments import Arguments
from taskq.app.handle import AsyncHandle, Decode, Handle, on_client_loop
from taskq.app.task import Settings, Task
from taskq.client import Client
from taskq.client.asynchronous import TIMEOUT_SECONDS
from taskq.client.identifier import TaskIdLike, task_id_bytes
from taskq.client.moment import Duration
from taskq.client.submission import TaskSpec
from taskq.errors import TaskqError
from taskq.limits import TASK_NAME_SIZE_MAX
from taskq.worker.codec import CODECS, Codec
from taskq.worker.function import describe, raw
from taskq.worker.target import SCRIPT_NAME, WorkerError
from taskq.worker.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")


class MakesTask(Protocol):
    """What `@app.task(...)` gives: makes a task of the function below it."""

    def __call__(self, function: Callable[P, R], /) -> Task[P, R]:
        """The task."""


def _abandon(client: Client) -> None:
    """Closes without waiting: whoever collects garbage may be any thread, and hold any lock."""
    link = client.core.channel.end()
    if link is not None:
        link.loop.call_soon_threadsafe(link.end)


class App:
    """The tasks of a program.

    `url` is `taskq://KEY@host1:6379,host2:6379`, default `TASKQ_URL`, else
    `taskq://127.0.0.1:6379`. `queue`, `codec` ("json" or "msgpack") are those of tasks that name
    none. `include` are modules with tasks, which a worker imports. `timeout` is the deadline of
    each request, repeats included.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        queue: str = "default",
        codec: str = "json",
        include: Sequence[str] = (),
        timeout: Duration = TIMEOUT_SECONDS,
    ) -> None:
        self._url = url
        self._queue = queue
        self._codec = _codec(codec)
        self._include = [include] if isinstance(include, str) else list(include)
        self._timeout = timeout
        self._tasks: dict[str, Task[..., Any]] = {}
        self._client: Client | None = None

    def __repr__(self) -> str:
        return f"<App of {len(self._tasks)} tasks>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the next submit makes a new one. At the end of the program this
        happens by itself."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def client(self) -> Client:
        """The client that the app submits with; for everything else that clusters can do."""
        if self._client is None:
            self._client = Client(self._url, timeout=self._timeout)
            weakref.finalize(self, _abandon, self._client)
        return self._client

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The tasks by name."""
        return dict(self._tasks)

    # --- making tasks -----------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        queue: str | None = None,
        priority: str | int = "normal",
        max_retries: int = 3,
        timeout: Duration | None = None,
        ttl: Duration | None = None,
        backoff: Duration = 1.0,
        backoff_max: Duration = 3600.0,
        keep_result: bool = True,
        codec: str | None = None,
        raw: bool = False,
    ) -> MakesTask: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str | None = None,
        priority: str | int = "normal",
        max_retries: int = 3,
        timeout: Duration | None = None,
        ttl: Duration | None = None,
        backoff: Duration = 1.0,
        backoff_max: Duration = 3600.0,
        keep_result: bool = True,
        codec: str | None = None,
        raw: bool = False,
    ) -> Any:
        """Makes a function a task: `@app.task` or `@app.task(queue="mails", max_retries=5)`.

        `name` is what workers find it by, default "module.function"; a task keeps it when it is
        moved to another module only if it is given here. The other arguments are the defaults of
        `Task.options`; `raw=True` is for functions that take and return bytes. Raises ValueError
        or TypeError, naming the argument, also where the name is taken.
        """

        settings = Settings(
            queue=self._queue if queue is None else queue,
            priority=priority,
            ttl=ttl,
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
            backoff_max=backoff_max,
            keep_result=keep_result,
        )
        chosen = self._codec if codec is None else _codec(codec)

        def make(function: Callable[..., Any]) -> Task[..., Any]:
            return self._register(function, name or _name_of(function), chosen, settings, raw)

        return make if function is None else make(function)

    def _register(
        self,
        function: Callable[..., Any],
        name: str,
        codec: Codec,
        settings: Settings,
        is_raw: bool,
    ) -> Task[..., Any]:
        if isinstance(function, Task) or not callable(function):
            raise TypeError(f"{name}: a task is made of a function, not of {function!r}")
        if len(name.encode()) > TASK_NAME_SIZE_MAX:
            raise ValueError(f"name: at most {TASK_NAME_SIZE_MAX} bytes, not {name!r}")
        if name in self._tasks:
            raise ValueError(f"name: there is a task {name!r} already; give one of them another")
        made = Task(self, name, raw(function) if is_raw else function, codec, settings)
        self._tasks[name] = made
        return made

    # --- submitting -------------------------------------------------------------------------------

    def submit_spec(self, spec: TaskSpec, arguments: Arguments) -> Handle:
        """What `Task.submit` does."""
        client = self.client
        return self._handle(client.submit_spec(spec).id.bytes, _decoder(arguments))

    async def submit_spec_async(self, spec: TaskSpec, arguments: Arguments) -> AsyncHandle:
        """What `Task.submit_async` does."""
        client = self.client
        made = await on_client_loop(client.core.submit_spec(spec))
        return AsyncHandle(client, made.id.bytes, _decoder(arguments))

    def submit_many(
        self,
        specs: Iterable[TaskSpec],
        *,
        timeout: Duration | None = None,
        retry_full: bool = False,
    ) -> list[Handle | TaskqError]:
        """Submits many tasks, made by `Task.spec`, in few frames; for each, in order, its handle or
        what went wrong. `timeout` (default: the app's) is for all of them together; `retry_full`
        waits for room within it instead of giving QueueFull for those that found none."""
        outcomes = self.client.submit_many(specs, timeout=timeout, retry_full=retry_full)
        return [
            one if isinstance(one, TaskqError) else self._handle(one.id.bytes, None)
            for one in outcomes
        ]

    async def submit_many_async(
        self,
        specs: Iterable[TaskSpec],
        *,
        timeout: Duration | None = None,
        retry_full: bool = False,
    ) -> list[AsyncHandle | TaskqError]:
        """`submit_many` for asyncio code."""
        client = self.client
        submitting = client.core.submit_many(list(specs), timeout=timeout, retry_full=retry_full)
        outcomes = await on_client_loop(submitting)
        return [
            one if isinstance(one, TaskqError) else AsyncHandle(client, one.id.bytes, None)
            for one in outcomes
        ]

    def handle(self, task_id: TaskIdLike) -> Handle:
        """The handle of a task that was submitted before, perhaps elsewhere. Asks nothing yet."""
        return self._handle(task_id_bytes(task_id), None)

    def async_handle(self, task_id: TaskIdLike) -> AsyncHandle:
        """`handle` for asyncio code."""
        return AsyncHandle(self.client, task_id_bytes(task_id), None)

    def _handle(self, task_id: bytes, decode: Decode | None) -> Handle:
        return Handle(self.client, task_id, decode)

    # --- working ----------------------------------------------------------------------------------

    def worker(self, queues: str | Sequence[str] = (), **options: Any) -> Worker:
        """A worker for the app's tasks; `options` as for `taskq.Worker`. `.run()` starts it."""
        return Worker(None, self, queues, **options)

    def worker_functions(self) -> dict[str, Callable[..., Any]]:
        """The functions by task name, those of `include` among them. Raises WorkerError."""
        for module in self._include:
            try:
                importlib.import_module(module)
            except Exception as error:
                raise WorkerError(f"Cannot include {module}:\n{describe(error)}") from error
        return {name: task.function for name, task in self._tasks.items()}

    def worker_queues(self) -> list[str]:
        """The queues that the tasks name, in the order of the tasks."""
        return list(dict.fromkeys(task.queue for task in self._tasks.values()))

    def worker_url(self) -> str | None:
        """Where the cluster is, if the app says so."""
        return self._url


def _codec(name: str) -> Codec:
    if name not in CODECS:
        raise ValueError(f"codec: one of {', '.join(CODECS)}, not {name!r}")
    return CODECS[name]


def _name_of(function: Callable[..., Any]) -> str:
    module, name = function.__module__, function.__qualname__
    if module in ("__main__", SCRIPT_NAME):
        # The file's name: a worker that loads it as a module must find the same name.
        file = getattr(function, "__globals__", {}).get("__file__")
        module = Path(file).stem if file else module
    return f"{module}.{name}"


def _decoder(arguments: Arguments) -> Decode:
    return bytes if arguments.raw else arguments.codec.decode
