"""Refusals and failures.

    TaskqError
    +-- RequestRefused            the cluster said no; `.code` says why, nothing was changed
    |   +-- InvalidRequest        a field is wrong; the message names it
    |   +-- NotFound              no such task, queue or worker (or its record is gone)
    |   +-- StaleToken            the token is no longer valid: someone else owns the task now
    |   +-- QueueFull             over a limit of waiting tasks or of disk; see `.retry_after`
    |   +-- PermissionDenied      no credential, a wrong one, or one without this right
    |   +-- Unavailable           cannot serve just now (no leader, connections used up, stopping)
    +-- ConnectionFailed          no node could be reached within the deadline
    +-- OutcomeUnknown            the request may or may not have been carried out
    +-- ProtocolError             the other side does not speak our protocol
    +-- TaskError
        +-- TaskFailed            the task is dead; carries the remote error text
        +-- TaskCancelled
        +-- TaskExpired           its TTL ended before a worker took it

A refusal travels as a value (`Refusal`); only the client turns it into an exception.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

from taskq.fields import Bool, Int, Text
from taskq.limits import DURATION_MS_MAX, ERROR_SIZE_MAX


class ErrorCode(StrEnum):
    """Why a request was refused. The values are the words on the wire; never reuse one."""

    INVALID_REQUEST = "INVALID_REQUEST"
    UNSUPPORTED_VERSION = "UNSUPPORTED_VERSION"
    UNKNOWN_MESSAGE = "UNKNOWN_MESSAGE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    WRONG_STATE = "WRONG_STATE"
    STALE_TOKEN = "STALE_TOKEN"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"
    QUEUE_FULL = "QUEUE_FULL"
    DISK_FULL = "DISK_FULL"
    TOO_MANY_QUEUES = "TOO_MANY_QUEUES"
    TOO_MANY_WORKERS = "TOO_MANY_WORKERS"
    TOO_MANY_CLAIMS = "TOO_MANY_CLAIMS"
    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    NO_LEADER = "NO_LEADER"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"


# What each code says, for the protocol page.
MEANINGS = {
    ErrorCode.INVALID_REQUEST: "A field is wrong; the message names it and what is allowed.",
    ErrorCode.UNSUPPORTED_VERSION: (
        "No protocol version in common, or a payload of a format that the node does not read."
    ),
    ErrorCode.UNKNOWN_MESSAGE: "The node knows no request of this type.",
    ErrorCode.UNAUTHENTICATED: "The node wants a key, and Hello carried none or a wrong one.",
    ErrorCode.PERMISSION_DENIED: "The key does not carry the role, or not for this queue.",
    ErrorCode.NOT_FOUND: "No such task, queue or worker, or its record is gone.",
    ErrorCode.ALREADY_EXISTS: "It exists with other settings.",
    ErrorCode.WRONG_STATE: "The task, queue or cluster is not in a state that allows this.",
    ErrorCode.STALE_TOKEN: (
        "The token is no longer valid: the lease ended and the task may have another owner. "
        "Stop working on it."
    ),
    ErrorCode.PAYLOAD_TOO_LARGE: "The payload exceeds `payload_size_max` of the HelloReply.",
    ErrorCode.RESULT_TOO_LARGE: (
        "The result exceeds `result_size_max` of the HelloReply, or a reply does not fit a frame."
    ),
    ErrorCode.QUEUE_FULL: "The broker holds as many waiting tasks, or bytes of them, as it may.",
    ErrorCode.DISK_FULL: "The disk is nearly full: what would grow is refused, what drains is not.",
    ErrorCode.TOO_MANY_QUEUES: "The cluster has as many queues as it may.",
    ErrorCode.TOO_MANY_WORKERS: "The cluster has as many workers as it may.",
    ErrorCode.TOO_MANY_CLAIMS: (
        "The worker has too many claims whose answers it has not confirmed (raise "
        "`lowest_unanswered`), or holds as many tasks as a heartbeat can name."
    ),
    ErrorCode.TOO_MANY_REQUESTS: "As many requests wait on the node as it can hold.",
    ErrorCode.TOO_MANY_CONNECTIONS: "The node has as many connections as it may; try another one.",
    ErrorCode.NO_LEADER: "No leader was known before the deadline.",
    ErrorCode.UNAVAILABLE: "The node cannot serve just now, for instance because it is stopping.",
    ErrorCode.DEADLINE_EXCEEDED: "The deadline of the request passed before it was carried out.",
}

# Codes of refusals whose request was certainly not carried out and may be sent again later.
RETRYABLE = frozenset(
    {
        ErrorCode.QUEUE_FULL,
        ErrorCode.DISK_FULL,
        ErrorCode.TOO_MANY_REQUESTS,
        ErrorCode.TOO_MANY_CONNECTIONS,
        ErrorCode.NO_LEADER,
        ErrorCode.UNAVAILABLE,
    }
)


class Refusal(NamedTuple):
    """A request's "no", as a value: code, a sentence for people, and when to try again.

    `retry_after_ms` is 0 where trying again without a change is pointless, or where the node has
    no hint. `unknown` true means that the request may have been carried out all the same.
    """

    code: Annotated[str, Text(40, 1)]
    message: Annotated[str, Text(ERROR_SIZE_MAX)]
    retry_after_ms: Annotated[int, Int(0, DURATION_MS_MAX)] = 0
    unknown: Annotated[bool, Bool()] = False


def refuse(code: ErrorCode, message: str, retry_after_ms: int = 0) -> Refusal:
    """A `Refusal` with the code's wire word."""
    return Refusal(code.value, message, retry_after_ms)


class TaskqError(Exception):
    """Root of everything that this package raises on purpose."""


class RequestRefused(TaskqError):
    """The cluster refused a request.

    `code` is an `ErrorCode`, or a text that this version does not know; `retry_after` is in
    seconds.
    """

    def __init__(self, code: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{message} [{code}]")
        self.code = code
        self.message = message
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type, tuple[str, str, float]]:
        return type(self), (self.code, self.message, self.retry_after)


class InvalidRequest(RequestRefused):
    """A field of the request is wrong; the message names it."""


class NotFound(RequestRefused):
    """No such task, queue or worker."""


class StaleToken(RequestRefused):
    """The token is no longer valid; nothing was changed."""


class QueueFull(RequestRefused):
    """The broker holds as many waiting tasks or bytes as it may; try after `retry_after`."""


class PermissionDenied(RequestRefused):
    """No credential, a wrong one, or one without this right."""


class Unavailable(RequestRefused):
    """The cluster cannot serve the request just now."""


class ConnectionFailed(TaskqError):
    """No node could be reached within the deadline."""


class OutcomeUnknown(TaskqError):
    """The deadline passed or the connection broke while the request may have been carried out."""


class ProtocolError(TaskqError):
    """The bytes received are not this protocol."""


class TaskError(TaskqError):
    """A task ended without a result. `task_id` is its id as text."""

    def __init__(self, task_id: str, message: str) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.task_id, self.message)


class TaskFailed(TaskError):
    """The task is dead: its last error text, as sent by the worker, is the message."""


class TaskCancelled(TaskError):
    """The task was cancelled."""


class TaskExpired(TaskError):
    """The task's TTL ended before a worker took it."""


_REFUSALS: dict[str, type[RequestRefused]] = {
    ErrorCode.INVALID_REQUEST.value: InvalidRequest,
    ErrorCode.PAYLOAD_TOO_LARGE.value: InvalidRequest,
    ErrorCode.RESULT_TOO_LARGE.value: InvalidRequest,
    ErrorCode.UNSUPPORTED_VERSION.value: InvalidRequest,
    ErrorCode.UNKNOWN_MESSAGE.value: InvalidRequest,
    ErrorCode.NOT_FOUND.value: NotFound,
    ErrorCode.STALE_TOKEN.value: StaleToken,
    ErrorCode.QUEUE_FULL.value: QueueFull,
    ErrorCode.DISK_FULL.value: QueueFull,
    ErrorCode.UNAUTHENTICATED.value: PermissionDenied,
    ErrorCode.PERMISSION_DENIED.value: PermissionDenied,
    ErrorCode.TOO_MANY_REQUESTS.value: Unavailable,
    ErrorCode.TOO_MANY_CONNECTIONS.value: Unavailable,
    ErrorCode.NO_LEADER.value: Unavailable,
    ErrorCode.UNAVAILABLE.value: Unavailable,
    ErrorCode.DEADLINE_EXCEEDED.value: Unavailable,
}


def as_exception(refusal: Refusal) -> TaskqError:
    """The exception for a refusal; an unknown code gives plain `RequestRefused`."""
    if refusal.unknown:
        return OutcomeUnknown(refusal.message)
    kind = _REFUSALS.get(refusal.code, RequestRefused)
    return kind(refusal.code, refusal.message, refusal.retry_after_ms / 1000)
