"""A worker: runs a Python function per task, keeps its leases, hands in the outcomes."""

from taskq.worker.context import TaskContext, current_task
from taskq.worker.function import raw
from taskq.worker.heartbeats import WorkerLost
from taskq.worker.target import WorkerError
from taskq.worker.worker import Worker

__all__ = ["TaskContext", "Worker", "WorkerError", "WorkerLost", "current_task", "raw"]
