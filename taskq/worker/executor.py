"""What the worker asks of whatever runs its function, and which one runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from taskq.worker.context import TaskContext
from taskq.worker.function import (
    Ended,
    WorkerError,
    is_coroutine,
    load,
    parse_target,
    target_of,
)
from taskq.worker.in_process import Coroutines, Threads
from taskq.worker.process_pool import ProcessPool

EXECUTORS = ("auto", "process", "thread", "coroutine")


class Executor(Protocol):
    """Runs the function. Every method is called on the worker's loop."""

    async def start(self) -> None:
        """Makes ready. Raises WorkerError where the function cannot be loaded."""

    async def run(self, context: TaskContext, payload: bytes) -> Ended:
        """Runs the function for one task; never raises for what the function does."""

    def stop(self, token: int) -> None:
        """Asks the run with this token to end; `run` returns when it has."""

    def kill(self) -> None:
        """Ends all runs at once, as far as that can be done."""

    async def close(self) -> None:
        """Gives everything back. Runs that cannot be ended are left behind."""

    def child_pids(self) -> list[int]:
        """Processes whose CPU time and memory count as the worker's."""


def make_executor(
    function: Callable[..., Any] | str, executor: str, concurrency: int, cancel_grace_secs: float
) -> Executor:
    """The executor for a function or "module:function". Raises WorkerError where they do not fit.

    The function is loaded here, too: mistakes show at once, and coroutine functions are seen.
    """
    if executor not in EXECUTORS:
        raise WorkerError(f"executor is {executor!r}; allowed are {', '.join(EXECUTORS)}.")
    target = parse_target(function) if isinstance(function, str) else None
    loaded = function if callable(function) else load(parse_target(function))
    if executor == "coroutine" and not is_coroutine(loaded):
        raise WorkerError('executor="coroutine" needs a coroutine function (async def).')
    if executor == "coroutine" or (executor == "auto" and is_coroutine(loaded)):
        return Coroutines(loaded)
    if executor == "thread":
        if is_coroutine(loaded):
            raise WorkerError('executor="thread" needs a plain function; this one is async.')
        return Threads(loaded)
    return ProcessPool(target or target_of(loaded), concurrency, cancel_grace_secs)
