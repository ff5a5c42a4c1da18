"""Which executor runs the functions of a worker."""

from __future__ import annotations

from taskq.worker.coroutines import Coroutines
from taskq.worker.executor import EXECUTORS, Executor
from taskq.worker.process_pool import ProcessPool
from taskq.worker.target import WorkerError
from taskq.worker.threads import Threads
from taskq.worker.workload import Work


def make_executor(
    work: Work, executor: str, concurrency: int, prefetch: int | None, cancel_grace_secs: float
) -> Executor:
    """The executor of this name for a work. Raises WorkerError where they do not fit."""
    if executor not in EXECUTORS:
        raise WorkerError(f"executor is {executor!r}; allowed are {', '.join(EXECUTORS)}.")
    if executor == "coroutine" or (executor == "auto" and work.load.all_async):
        return Coroutines(work.load, concurrency, prefetch)
    if executor == "thread":
        return Threads(work.load, concurrency, prefetch)
    return ProcessPool(work.target(), concurrency, prefetch, cancel_grace_secs)
