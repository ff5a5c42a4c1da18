"""A function that an app has made a task: called, it runs here; submitted, a worker runs it.

    resize(path)                                         runs here and now
    resize.submit(path)                                  a worker runs it
    resize.options(priority="high", delay=60).submit(path)

`submit` takes the function's own arguments and nothing else, so that a function may have an
argument named `delay`; `options` takes the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, ParamSpec, TypeVar

from taskq.app.arguments import Arguments
from taskq.app.handle import AsyncHandle, Handle
from taskq.client.identifier import TaskIdLike, task_id_bytes
from taskq.client.moment import Duration, duration_ms, wall_ms
from taskq.client.submission import TaskSpec
from taskq.worker.codec import CONTENT_TYPE_HEADER, Codec

if TYPE_CHECKING:
    from taskq.app.application import App

P = ParamSpec("P")
R = TypeVar("R")


class _Unset(Enum):
    """Says that an option keeps its value; None is a value."""

    UNSET = "as before"


UNSET: Final = _Unset.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a task is submitted; the names are those of `options`."""

    queue: str
    priority: str | int = "normal"
    delay: Duration | None = None
    at: datetime | None = None
    ttl: Duration | None = None
    timeout: Duration | None = None
    max_retries: int = 3
    backoff: Duration = 1.0
    backoff_max: Duration = 3600.0
    headers: Mapping[str, str] | None = None
    keep_result: bool = True
    task_id: TaskIdLike | None = None

    def check(self, title: str) -> None:
        """Raises TypeError or ValueError, naming the option, or InvalidRequest."""
        try:
            if self.at is not None:
                wall_ms(self.at, "at")
                if self.delay is not None:
                    raise ValueError("delay, at: give one of them")
            if self.timeout is not None:
                duration_ms(self.timeout, "timeout")
            if self.headers is not None and CONTENT_TYPE_HEADER in self.headers:
                raise ValueError(f"headers: {CONTENT_TYPE_HEADER} is the codec's")
            if self.task_id is not None:
                task_id_bytes(self.task_id)
            self.spec("", b"", {}).command()
        except (TypeError, ValueError) as error:
            raise type(error)(f"{title}: {error}") from None

    def spec(self, name: str, payload: bytes, headers: Mapping[str, str]) -> TaskSpec:
        """What goes to the client."""
        return TaskSpec(
            queue=self.queue,
            payload=payload,
            name=name,
            priority=self.priority,
            delay=self.delay,
            run_at=self.at,
            ttl=self.ttl,
            run_timeout=self.timeout,
            max_retries=self.max_retries,
            backoff=self.backoff,
            backoff_max=self.backoff_max,
            headers={**(self.headers or {}), **headers},
            keep_result=self.keep_result,
            task_id=self.task_id,
        )


class Submission(Generic[P]):
    """A task with the options of one submit, or of several. Made by `Task.options`."""

    def __init__(self, app: App, name: str, arguments: Arguments, settings: Settings) -> None:
        self._app = app
        self._name = name
        self._arguments = arguments
        self._settings = settings

    def __repr__(self) -> str:
        return f"<Submission of {self._name}>"

    def options(
        self,
        *,
        queue: str | _Unset = UNSET,
        priority: str | int | _Unset = UNSET,
        delay: Duration | _Unset | None = UNSET,
        at: datetime | _Unset | None = UNSET,
        ttl: Duration | _Unset | None = UNSET,
        timeout: Duration | _Unset | None = UNSET,
        max_retries: int | _Unset = UNSET,
        backoff: Duration | _Unset = UNSET,
        backoff_max: Duration | _Unset = UNSET,
        headers: Mapping[str, str] | _Unset | None = UNSET,
        keep_result: bool | _Unset = UNSET,
        task_id: TaskIdLike | _Unset | None = UNSET,
    ) -> Submission[P]:
        """The same with other options; what is left out stays as it was.

        `delay` (cluster time) or `at` (a date with a time zone) say when it may start. `ttl` counts
        while it is not running, `timeout` limits one run. A retry waits `backoff` seconds,
        doubling up to `backoff_max`. The same `task_id` again makes no second task. Raises
        TypeError or ValueError, naming the option.
        """
        given = locals()
        names = (field.name for field in fields(Settings))
        changes = {name: given[name] for name in names if given[name] is not UNSET}
        settings = replace(self._settings, **changes)
        settings.check(self._name)
        return Submission(self._app, self._name, self._arguments, settings)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Handle:
        """Submits the task; returns once the cluster has it on disk.

        Raises TypeError, naming the argument, for what the function does not take or the codec
        cannot carry, and what `Client.submit` raises.
        """
        spec = self.spec(*args, **kwargs)
        return self._app.submit_spec(spec, self._arguments)

    async def submit_async(self, *args: P.args, **kwargs: P.kwargs) -> AsyncHandle:
        """`submit` for asyncio code."""
        spec = self.spec(*args, **kwargs)
        return await self._app.submit_spec_async(spec, self._arguments)

    def spec(self, *args: P.args, **kwargs: P.kwargs) -> TaskSpec:
        """The task as `App.submit_many` takes it. Raises TypeError as `submit` does."""
        payload = self._arguments.pack(args, kwargs)
        return self._settings.spec(self._name, payload, self._arguments.headers)


class Task(Submission[P], Generic[P, R]):
    """A task of an app. Made by `App.task`."""

    def __init__(
        self, app: App, name: str, function: Callable[P, R], codec: Codec, settings: Settings
    ) -> None:
        settings.check(name)
        super().__init__(app, name, Arguments(name, function, codec), settings)
        self.function = function
        functools.update_wrapper(self, function)

    @property
    def name(self) -> str:
        """What workers find it by."""
        return self._name

    @property
    def queue(self) -> str:
        """Where it goes unless `options` says otherwise."""
        return self._settings.queue

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the function here."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self._name}>"
