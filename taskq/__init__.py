"""taskq: a Raft-replicated, durable task queue. This is the whole public interface.

    import taskq

    app = taskq.App()

    @app.task
    def add(a, b):
        return a + b

    add.submit(1, 2).result(timeout=30)     # `taskq worker module:app` runs it

Delivery is at least once: a function may run twice; one completion is accepted.
"""

from taskq.app.application import App
from taskq.app.handle import AsyncHandle, Handle
from taskq.app.task import Submission, Task
from taskq.client.asynchronous import AsyncClient
from taskq.client.blocking import Client, WorkerSession
from taskq.client.handle import AsyncTaskHandle, TaskHandle
from taskq.client.submission import TaskSpec
from taskq.client.views import CancelStatus, QueueStatus, TaskAttempt, TaskStatus, WorkerStatus
from taskq.client.worker_session import AsyncWorkerSession
from taskq.errors import (
    ConnectionFailed,
    ErrorCode,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    ProtocolError,
    QueueFull,
    RequestRefused,
    StaleToken,
    TaskCancelled,
    TaskError,
    TaskExpired,
    TaskFailed,
    TaskqError,
    Unavailable,
)
from taskq.results import ClaimedTask, HeartbeatReply, Stats, TaskState
from taskq.worker.context import TaskContext, current_task
from taskq.worker.function import NoRetry, raw
from taskq.worker.heartbeats import WorkerLost
from taskq.worker.target import WorkerError
from taskq.worker.worker import Worker

__all__ = [
    "App",
    "AsyncClient",
    "AsyncHandle",
    "AsyncTaskHandle",
    "AsyncWorkerSession",
    "CancelStatus",
    "ClaimedTask",
    "Client",
    "ConnectionFailed",
    "ErrorCode",
    "Handle",
    "HeartbeatReply",
    "InvalidRequest",
    "NoRetry",
    "NotFound",
    "OutcomeUnknown",
    "PermissionDenied",
    "ProtocolError",
    "QueueFull",
    "QueueStatus",
    "RequestRefused",
    "StaleToken",
    "Stats",
    "Submission",
    "Task",
    "TaskAttempt",
    "TaskCancelled",
    "TaskContext",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskHandle",
    "TaskSpec",
    "TaskState",
    "TaskStatus",
    "TaskqError",
    "Unavailable",
    "Worker",
    "WorkerError",
    "WorkerLost",
    "WorkerSession",
    "WorkerStatus",
    "current_task",
    "raw",
]
