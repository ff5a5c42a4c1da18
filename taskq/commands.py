"""Every message: its code, fields, who may send it and what it is answered with.

Fields travel as an array in the order written here; trailing fields with a default may be left
out. A message is a `NamedTuple`: immutable, cheap to make for every task, and its own wire form.
Codes are never reused. Handlers: `taskq/machine` for commands and reads, the server for sessions.
The messages about the nodes are written in `cluster_commands.py` and taken from here as well.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from taskq import limits
from taskq.cluster_commands import *  # noqa: F403  # handed on
from taskq.fields import Bytes, Int, ListOf, MapOf, Maybe, Record, Text
from taskq.levels import LEVEL_LIMIT
from taskq.registry import Role, Sort, message
from taskq.results import (
    U63,
    BatchReply,
    CancelReply,
    Claimed,
    Count,
    Cursor,
    Deregistered,
    Done,
    Extended,
    Flag,
    Headers,
    HeartbeatReply,
    HelloReply,
    OutcomeReply,
    PingReply,
    Purged,
    QueueName,
    QueuePage,
    Registered,
    Stats,
    Submitted,
    TaskId,
    TaskPage,
    TaskView,
    Token,
    WorkerPage,
)

PROTOCOL_VERSION = 1

WorkerId = Annotated[bytes, Bytes(16, 16)]
TaskIds = Annotated[list[bytes], ListOf(Bytes(16, 16), limits.BATCH_COUNT_MAX, 1)]
Delay = Annotated[int, Int(0, limits.DURATION_MS_MAX)]
MaybeDuration = Annotated[int | None, Maybe(Int(1, limits.DURATION_MS_MAX))]
MaybeLease = Annotated[int | None, Maybe(Int(limits.LEASE_MS_MIN, limits.LEASE_MS_MAX))]
Wait = Annotated[int, Int(0, limits.WAIT_MS_MAX)]
ListLimit = Annotated[int, Int(1, limits.LIST_LIMIT_MAX)]
MaybeQueue = Annotated[str | None, Maybe(Text(200, 1, limits.QUEUE_NAME_PATTERN))]


# --- sessions ------------------------------------------------------------------------------------


@message(0x01, Sort.SESSION, reply=HelloReply)
class Hello(NamedTuple):
    """First frame of every connection. `versions` are the protocol versions the client speaks."""

    versions: Annotated[list[int], ListOf(Int(1, 255), 16, 1)]
    client: Annotated[str, Text(200)] = ""
    key: Annotated[str | None, Maybe(Text(500))] = None


@message(0x02, Sort.SESSION, reply=PingReply)
class Ping(NamedTuple):
    """Keeps the connection: sent when nothing else was for a third of the idle time-out."""


# --- tasks ---------------------------------------------------------------------------------------


@message(0x10, Sort.COMMAND, role=Role.PRODUCER, reply=Submitted)
class SubmitTask(NamedTuple):
    """Puts a task into a queue. The same id again is answered alike and makes no second task.

    `id`: UUIDv7 made by the client, so that it can repeat; nil lets the node make one (a repeat
    then makes a second task). `delay_ms` is relative and in cluster time, `run_at_wall_ms` is Unix
    time; one of them at most. `ttl_ms` counts while the task is not running. `timeout_ms` limits
    one run. `max_retries` counts retries after the first run; the delay before retry n is
    `backoff_ms` * 2^(n-1), at most `backoff_max_ms`, +-20 %.
    """

    id: Annotated[bytes | None, Maybe(Bytes(16, 16))]
    queue: QueueName
    name: Annotated[str, Text(limits.TASK_NAME_SIZE_MAX)] = ""
    payload: Annotated[bytes, Bytes(limits.FRAME_SIZE_MAX)] = b""
    priority: Annotated[int, Int(0, limits.PRIORITY_MAX)] = limits.PRIORITY_DEFAULT
    delay_ms: Delay = 0
    run_at_wall_ms: Annotated[int | None, Maybe(Int(0, limits.WALL_MS_MAX))] = None
    ttl_ms: MaybeDuration = None
    timeout_ms: MaybeDuration = None
    max_retries: Annotated[int, Int(0, limits.RETRIES_MAX)] = limits.MAX_RETRIES_DEFAULT
    backoff_ms: Delay = limits.BACKOFF_MS_DEFAULT
    backoff_max_ms: Delay = limits.BACKOFF_MAX_MS_DEFAULT
    headers: Headers = {}  # noqa: RUF012  # never changed: it is packed or stored as it is
    keep_result: Flag = True


@message(0x11, Sort.COMMAND, role=Role.PRODUCER, reply=BatchReply, member=Submitted)
class SubmitTasks(NamedTuple):
    """Many submits in one frame, answered one by one in order."""

    tasks: Annotated[list[SubmitTask], ListOf(Record(SubmitTask), limits.BATCH_COUNT_MAX, 1)]


@message(0x12, Sort.COMMAND, role=Role.WORKER, reply=Claimed)
class ClaimTask(NamedTuple):
    """Takes the next ready tasks of the queues, in the order listed, under a lease.

    `claim_number` grows by one with each new claim of this worker; the same number again returns
    those of its tasks whose token is still valid. `lowest_unanswered` is the lowest claim number
    whose answer the worker has not seen: lower ones are forgotten. With `wait_ms` the claim waits
    for a task to become ready. `lease_ms` nil takes the queue's lease.
    """

    worker_id: WorkerId
    claim_number: Annotated[int, Int(1, U63)]
    lowest_unanswered: Annotated[int, Int(1, U63)]
    queues: Annotated[
        list[str],
        ListOf(Text(200, 1, limits.QUEUE_NAME_PATTERN), limits.CLAIM_QUEUE_COUNT_MAX, 1),
    ]
    max_tasks: Annotated[int, Int(1, U63)] = 1
    wait_ms: Wait = 0
    lease_ms: MaybeLease = None


@message(0x13, Sort.COMMAND, role=Role.WORKER, reply=OutcomeReply)
class TaskResult(NamedTuple):
    """Ends a run: completed (`ok` true, with `result`) or failed (`error`; `retry` false: dead)."""

    task_id: TaskId
    token: Token
    ok: Flag
    result: Annotated[bytes | None, Maybe(Bytes(limits.FRAME_SIZE_MAX))] = None
    error: Annotated[str, Text(limits.FRAME_SIZE_MAX)] = ""
    retry: Flag = True


@message(0x14, Sort.COMMAND, role=Role.WORKER, reply=BatchReply, member=OutcomeReply)
class TaskResults(NamedTuple):
    """Many outcomes in one frame, answered one by one in order."""

    outcomes: Annotated[list[TaskResult], ListOf(Record(TaskResult), limits.BATCH_COUNT_MAX, 1)]


@message(0x15, Sort.COMMAND, role=Role.WORKER, reply=OutcomeReply)
class Ack(NamedTuple):
    """Completes a task without a result."""

    task_id: TaskId
    token: Token


@message(0x16, Sort.COMMAND, role=Role.WORKER, reply=OutcomeReply)
class Nack(NamedTuple):
    """Gives a task back: it keeps its place (or waits `delay_ms` first); counts as nothing.

    With `unknown_task` the worker knows no task of this name, and the release counts: the tenth
    makes the task dead, with `UNKNOWN_TASK` as its reason. Until then it always waits, `delay_ms`
    the first time (0: 1 s) and twice as long each time, up to 64 s.
    """

    task_id: TaskId
    token: Token
    delay_ms: Delay = 0
    unknown_task: Flag = False


@message(0x17, Sort.COMMAND, role=Role.WORKER, reply=Extended)
class ExtendLease(NamedTuple):
    """A longer lease under the same token, from now on; never past the task's timeout."""

    task_id: TaskId
    token: Token
    lease_ms: MaybeLease = None


@message(0x18, Sort.COMMAND, role=Role.WORKER, reply=HeartbeatReply)
class Heartbeat(NamedTuple):
    """The worker lives and really holds `tokens`: exactly those leases are extended."""

    worker_id: WorkerId
    tokens: Annotated[list[int], ListOf(Int(0, U63), limits.HEARTBEAT_TOKEN_COUNT_MAX)]
    lowest_unanswered: Annotated[int, Int(1, U63)] = 1
    cpu_permille: Annotated[int, Int(0, 1_000_000)] = 0
    memory_size: Count = 0


@message(0x19, Sort.COMMAND, role=Role.WORKER, reply=Registered)
class RegisterWorker(NamedTuple):
    """Makes a worker known. `worker_id` is random for each start of a process."""

    worker_id: WorkerId
    name: Annotated[str, Text(limits.WORKER_NAME_SIZE_MAX)] = ""
    concurrency: Annotated[int, Int(1, 100_000)] = 1
    heartbeat_interval_ms: Annotated[int, Int(100, 3_600_000)] = (
        limits.HEARTBEAT_INTERVAL_MS_DEFAULT
    )


@message(0x1A, Sort.COMMAND, role=Role.WORKER, reply=Deregistered)
class DeregisterWorker(NamedTuple):
    """Forgets a worker; the tasks it holds go back to their places and count as nothing. Its claims
    that wait are answered empty: send no other after it."""

    worker_id: WorkerId


@message(0x1B, Sort.COMMAND, role=Role.PRODUCER, reply=CancelReply)
class CancelTask(NamedTuple):
    """Cancels a waiting task at once; asks a running one to stop; `force` takes its token."""

    task_id: TaskId
    force: Flag = False


# --- questions -----------------------------------------------------------------------------------


@message(0x20, Sort.READ, role=Role.PRODUCER, reply=TaskView)
class QueryStatus(NamedTuple):
    """What is known of a task. With `wait_ms` the answer waits for the task to end."""

    task_id: TaskId
    wait_ms: Wait = 0
    with_result: Flag = True
    stale: Flag = False


@message(0x21, Sort.READ, role=Role.PRODUCER, reply=Stats)
class GetStats(NamedTuple):
    """Counts over the whole cluster."""

    stale: Flag = False


@message(0x22, Sort.READ, role=Role.PRODUCER, reply=TaskPage)
class ListTasks(NamedTuple):
    """Tasks in the order of their ids, filtered by queue and state (nil: all)."""

    queue: MaybeQueue = None
    state: Annotated[int | None, Maybe(Int(1, 8))] = None
    after: Cursor = None
    limit: ListLimit = 100
    stale: Flag = False


@message(0x23, Sort.READ, role=Role.PRODUCER, reply=WorkerPage)
class ListWorkers(NamedTuple):
    """Workers in the order of their ids."""

    after: Cursor = None
    limit: ListLimit = 100
    stale: Flag = False


# --- queues --------------------------------------------------------------------------------------


@message(0x30, Sort.READ, role=Role.PRODUCER, reply=QueuePage)
class ListQueues(NamedTuple):
    """Queues in the order of their names."""

    after: Cursor = None
    limit: ListLimit = 100
    stale: Flag = False


@message(0x31, Sort.COMMAND, role=Role.ADMIN, reply=Done)
class CreateQueue(NamedTuple):
    """Makes a queue. `ageing_ms`: what one step of priority is worth in waiting time; 0 switches
    ageing off. `lease_ms` nil takes the broker's lease. The same again is fine; other settings
    for a queue that exists are `ALREADY_EXISTS`."""

    queue: QueueName
    ageing_ms: Delay = 0
    lease_ms: MaybeLease = None


@message(0x32, Sort.COMMAND, role=Role.ADMIN, reply=Done)
class PauseQueue(NamedTuple):
    """Claims pass the queue over until it is resumed; running tasks go on."""

    queue: QueueName


@message(0x33, Sort.COMMAND, role=Role.ADMIN, reply=Done)
class ResumeQueue(NamedTuple):
    """Claims see the queue again."""

    queue: QueueName


@message(0x34, Sort.COMMAND, role=Role.ADMIN, reply=Purged)
class PurgeQueue(NamedTuple):
    """Cancels waiting and scheduled tasks, never leased ones. Bounded: while the answer says
    `more`, send it again."""

    queue: QueueName
    limit: Annotated[int, Int(1, limits.BATCH_COUNT_MAX)] = limits.BATCH_COUNT_MAX


@message(0x35, Sort.COMMAND, role=Role.ADMIN, reply=Done)
class DeleteQueue(NamedTuple):
    """Deletes a queue in which nothing waits, runs or is dead; else `WRONG_STATE`, which says what
    there is. Tasks that have ended stay known until their retention is over. A later submit makes
    the queue anew, without settings of its own."""

    queue: QueueName


# --- dead letters --------------------------------------------------------------------------------


@message(0x40, Sort.READ, role=Role.PRODUCER, reply=TaskPage)
class ListDead(NamedTuple):
    """Dead tasks, those that died first first, filtered by queue (nil: all)."""

    queue: MaybeQueue = None
    after: Cursor = None
    limit: ListLimit = 100
    stale: Flag = False


@message(0x41, Sort.COMMAND, role=Role.ADMIN, reply=BatchReply, member=Done)
class RedriveDead(NamedTuple):
    """Makes dead tasks ready again: same id, counters at zero, history kept."""

    task_ids: TaskIds


@message(0x42, Sort.COMMAND, role=Role.ADMIN, reply=BatchReply, member=Done)
class DeleteDead(NamedTuple):
    """Deletes dead tasks."""

    task_ids: TaskIds


# --- log entries that no client sends ------------------------------------------------------------


@message(0x60, Sort.INTERNAL)
class Advance(NamedTuple):
    """Acts on what is due: dead workers, leases, schedules, TTLs; at most `limit` deadlines."""

    limit: Annotated[int, Int(1, 100_000)] = limits.ADVANCE_LIMIT


@message(0x61, Sort.INTERNAL)
class Configure(NamedTuple):
    """Replicates the leader's limits, because `apply` may depend on nothing outside the log."""

    settings: Annotated[dict[str, int], MapOf(Text(60), Int(0, U63), 100)]


@message(0x62, Sort.INTERNAL)
class Retain(NamedTuple):
    """Drops finished and dead tasks past their retention, and old ids past the repeat window."""

    limit: Annotated[int, Int(1, 100_000)] = limits.ADVANCE_LIMIT


@message(0x63, Sort.INTERNAL)
class SkipTokens(NamedTuple):
    """Tokens go on `skipped` further: a state that lost its latest entries must give none again
    that they gave. Made by restoring a backup and by recovering from one survivor."""

    skipped: Annotated[int, Int(1, 1 << 40)]


@message(0x68, Sort.INTERNAL)
class RaiseLevel(NamedTuple):
    """Raises the cluster's feature level. The leader proposes it when every member can run that
    level; its entry has that level itself, so that a node which cannot read it stops before it."""

    level: Annotated[int, Int(1, LEVEL_LIMIT)]


# --- pushed by the node --------------------------------------------------------------------------


@message(0x70, Sort.PUSH)
class CancelRequested(NamedTuple):
    """To the worker's connection: the cancellation of a task that it holds is wanted."""

    task_id: TaskId
    token: Token
