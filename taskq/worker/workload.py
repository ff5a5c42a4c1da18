"""What a worker runs: one function for every task, or the functions of an app by task name.

The parent and each pool process load the same one; neither knows what an app is beyond
`TaskSource`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from taskq.worker.function import is_coroutine
from taskq.worker.target import (
    Target,
    WorkerError,
    load,
    parse_target,
    target_of,
    target_of_object,
)


@runtime_checkable
class TaskSource(Protocol):
    """Something that has functions by task name: `taskq.App`."""

    def worker_functions(self) -> Mapping[str, Callable[..., Any]]:
        """All functions; loads what it was told to include."""

    def worker_queues(self) -> list[str]:
        """The queues that the tasks name."""

    def worker_url(self) -> str | None:
        """Where its cluster is, if it says so."""


class Runnable(NamedTuple):
    """A function, and whether it is a coroutine function."""

    function: Callable[..., Any]
    is_async: bool


class Workload:
    """The functions, found by task name. `queues` and `url` are what an app says, else empty."""

    def __init__(self, thing: object, title: str) -> None:
        self.queues: list[str] = []
        self.url: str | None = None
        self._only: Runnable | None = None
        self._by_name: dict[str, Runnable] = {}
        if isinstance(thing, TaskSource):
            functions = thing.worker_functions()
            self.queues, self.url = thing.worker_queues(), thing.worker_url()
            self._by_name = {
                name: Runnable(function, is_coroutine(function))
                for name, function in functions.items()
            }
            if not functions:
                raise WorkerError(f"{title} has no tasks; does it include the modules with them?")
        elif callable(thing):
            self._only = Runnable(thing, is_coroutine(thing))
        else:
            kind = type(thing).__name__
            raise WorkerError(f"Cannot load {title}: it is no function but {kind}.")

    def find(self, name: str) -> Runnable | None:
        """What runs a task of this name; None for a name that nobody has registered."""
        return self._only or self._by_name.get(name)

    @property
    def names(self) -> list[str]:
        """The task names of an app, sorted; empty where one function runs everything."""
        return sorted(self._by_name)

    @property
    def all_async(self) -> bool:
        """Whether every function is a coroutine function."""
        if self._only is not None:
            return self._only.is_async
        return all(one.is_async for one in self._by_name.values())


def load_workload(target: Target) -> Workload:
    """The workload that a target names. Raises WorkerError."""
    return Workload(load(target), str(target))


class Work:
    """A workload and how to find it again elsewhere. `thing` is a function, an app, or the
    "module:name" of one. Raises WorkerError."""

    def __init__(self, thing: object) -> None:
        self._thing = thing
        self._target = parse_target(thing) if isinstance(thing, str) else None
        if self._target is not None:
            self.load = load_workload(self._target)
        else:
            self.load = Workload(thing, repr(thing))

    def target(self) -> Target:
        """For another process. Raises WorkerError where it could not be found there."""
        if self._target is not None:
            return self._target
        if isinstance(self._thing, TaskSource):
            return target_of_object(self._thing)
        assert callable(self._thing)
        return target_of(self._thing)
