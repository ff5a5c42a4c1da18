"""taskq: a Raft-replicated, durable task queue. This is the whole public interface.

    import taskq

    with taskq.Client("taskq://127.0.0.1:6379") as client:
        handle = client.submit("mails", b"payload")
        print(handle.result(timeout=30))

Delivery is at least once: a function may run twice; one completion is accepted.
"""

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
from taskq.worker.function import raw
from taskq.worker.heartbeats import WorkerLost
from taskq.worker.target import WorkerError
from taskq.worker.worker import Worker

__all__ = [
    "AsyncClient",
    "AsyncTaskHandle",
    "AsyncWorkerSession",
    "CancelStatus",
    "ClaimedTask",
    "Client",
    "ConnectionFailed",
    "ErrorCode",
    "HeartbeatReply",
    "InvalidRequest",
    "NotFound",
    "OutcomeUnknown",
    "PermissionDenied",
    "ProtocolError",
    "QueueFull",
    "QueueStatus",
    "RequestRefused",
    "StaleToken",
    "Stats",
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
