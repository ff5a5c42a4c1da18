"""What requests are answered with, as `NamedTuple`s whose fields go on the wire in order.

Times: `_wall_ms` is Unix time in milliseconds, `_ms` alone a duration. Ids are 16 bytes.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Any, NamedTuple

from taskq.fields import Answer, Bool, Bytes, Int, ListOf, MapOf, Maybe, Record, Text
from taskq.limits import (
    BATCH_COUNT_MAX,
    DURATION_MS_MAX,
    ERROR_SIZE_MAX,
    FRAME_SIZE_MAX,
    HEADER_COUNT_MAX,
    HEADER_SIZE_MAX,
    HEARTBEAT_TOKEN_COUNT_MAX,
    QUEUE_NAME_PATTERN,
    WALL_MS_MAX,
)

U63 = (1 << 63) - 1

Count = Annotated[int, Int(0, U63)]
MaybeCount = Annotated[int | None, Maybe(Int(0, U63))]
Token = Annotated[int, Int(0, U63)]
TaskId = Annotated[bytes, Bytes(16, 16)]
QueueName = Annotated[str, Text(200, 1, QUEUE_NAME_PATTERN)]
WallMs = Annotated[int, Int(0, WALL_MS_MAX)]
DurationMs = Annotated[int, Int(0, DURATION_MS_MAX)]
Headers = Annotated[
    dict[str, str], MapOf(Text(HEADER_SIZE_MAX, 1), Text(HEADER_SIZE_MAX), HEADER_COUNT_MAX)
]
Words = Annotated[str, Text(ERROR_SIZE_MAX)]
Flag = Annotated[bool, Bool()]
Data = Annotated[bytes, Bytes(FRAME_SIZE_MAX)]
Cursor = Annotated[bytes | None, Maybe(Bytes(1024))]


class TaskState(IntEnum):
    """The states of a task; each task is in exactly one."""

    SCHEDULED = 1
    READY = 2
    LEASED = 3
    RETRYING = 4
    COMPLETED = 5
    DEAD = 6
    CANCELLED = 7
    EXPIRED = 8


FINAL_STATES = frozenset(
    {TaskState.COMPLETED, TaskState.DEAD, TaskState.CANCELLED, TaskState.EXPIRED}
)

State = Annotated[int, Int(1, 8)]


class Done(NamedTuple):
    """Carried out; nothing more to say."""


class HelloReply(NamedTuple):
    """The session is open. Members are `[node id, "host:port"]`, the addresses being those for
    clients; `leader` is a node id, or empty while nobody leads."""

    protocol_version: Annotated[int, Int(1, 255)]
    cluster_id: Annotated[str, Text(64)]
    node_id: Annotated[str, Text(200)]
    leader: Annotated[str, Text(200)]
    term: Count
    members: Annotated[list[list[str]], ListOf(ListOf(Text(300), 2, 2), 100)]
    server_version: Annotated[str, Text(100)]
    idle_timeout_ms: DurationMs
    frame_size_max: Count
    payload_size_max: Count
    result_size_max: Count
    max_batch_claim: Count
    requests_in_flight_max: Count


class PingReply(NamedTuple):
    """The node is there; `leader` is the node id it takes for leader, or empty."""

    leader: Annotated[str, Text(200)]
    term: Count


class Submitted(NamedTuple):
    """The task exists; the same for the first submit of an id and for every repeat."""

    task_id: TaskId


class BatchReply(NamedTuple):
    """One answer for each member of the batch, in order: `[true, reply]` or `[false, refusal]`."""

    answers: Annotated[list[list[Any]], ListOf(Answer(), BATCH_COUNT_MAX)]


class ClaimedTask(NamedTuple):
    """A task under lease. All later acts name (task_id, token)."""

    task_id: TaskId
    token: Token
    queue: QueueName
    name: Annotated[str, Text(200)]
    payload: Data
    headers: Headers
    priority: Annotated[int, Int(0, 255)]
    attempt: Count
    lease_ms: DurationMs
    timeout_ms: Annotated[int | None, Maybe(Int(1, DURATION_MS_MAX))]
    submitted_wall_ms: WallMs


class Claimed(NamedTuple):
    """Tasks claimed, at most `max_tasks` (the asked number, clamped to the broker's limit)."""

    tasks: Annotated[list[ClaimedTask], ListOf(Record(ClaimedTask), 1000)]
    max_tasks: Count


class OutcomeReply(NamedTuple):
    """The outcome was accepted; `state` is the state of the task that followed from it."""

    state: State


class Extended(NamedTuple):
    """The lease now ends `lease_ms` from the moment the command was carried out."""

    lease_ms: DurationMs
    cancel_requested: Flag


class HeartbeatReply(NamedTuple):
    """`invalid`: tokens that are no longer valid. `cancel`: tokens whose cancellation is wanted."""

    invalid: Annotated[list[int], ListOf(Int(0, U63), HEARTBEAT_TOKEN_COUNT_MAX)]
    cancel: Annotated[list[int], ListOf(Int(0, U63), HEARTBEAT_TOKEN_COUNT_MAX)]


class Registered(NamedTuple):
    """The worker is known. It is dead after `dead_after_ms` without contact."""

    lease_ms: DurationMs
    heartbeat_interval_ms: DurationMs
    dead_after_ms: DurationMs


class Deregistered(NamedTuple):
    """The worker is forgotten; `released` tasks went back to their places."""

    released: Count


class CancelReply(NamedTuple):
    """State after the command; `requested` is true while a running task has yet to stop."""

    state: State
    requested: Flag


class Attempt(NamedTuple):
    """One run of a task. `outcome`: completed, failed, timeout, lease_expired, worker_dead, ..."""

    number: Count
    worker: Annotated[str, Text(200)]
    started_wall_ms: WallMs
    ended_wall_ms: WallMs
    outcome: Annotated[str, Text(40)]
    error: Words


class TaskView(NamedTuple):
    """All that is known of a task. Wall times are 0 where the moment has not come.

    `worker` is the id of the current or last worker as hex. `reason` says why a task is dead or
    cancelled. `result` is filled only where asked for. `size` is that of the payload.
    """

    task_id: TaskId
    state: State
    queue: QueueName
    name: Annotated[str, Text(200)]
    priority: Annotated[int, Int(0, 255)]
    headers: Headers
    size: Count
    submitted_wall_ms: WallMs
    due_wall_ms: WallMs
    started_wall_ms: WallMs
    ended_wall_ms: WallMs
    attempt: Count
    retries: Count
    max_retries: Count
    lease_expiries: Count
    worker: Annotated[str, Text(200)]
    token: Token
    cancel_requested: Flag
    reason: Words
    has_result: Flag
    result: Annotated[bytes | None, Maybe(Bytes(FRAME_SIZE_MAX))]
    attempts: Annotated[list[Attempt], ListOf(Record(Attempt), 100)]


class TaskPage(NamedTuple):
    """A page of a listing; `after` starts the next one, nil at the end."""

    tasks: Annotated[list[TaskView], ListOf(Record(TaskView), 1000)]
    after: Cursor


class QueueView(NamedTuple):
    """A queue, its settings and its counts of waiting and running tasks."""

    name: QueueName
    paused: Flag
    ageing_ms: DurationMs
    lease_ms: DurationMs
    ready_high: Count
    ready_normal: Count
    ready_low: Count
    scheduled: Count
    retrying: Count
    leased: Count
    dead: Count


class QueuePage(NamedTuple):
    """Queues in the order of their names."""

    queues: Annotated[list[QueueView], ListOf(Record(QueueView), 1000)]
    after: Cursor


class WorkerView(NamedTuple):
    """A worker; `seen_ms` is how long ago (cluster time) it was last in contact."""

    worker_id: TaskId
    name: Annotated[str, Text(200)]
    concurrency: Count
    seen_ms: DurationMs
    leased: Count
    cpu_permille: Count
    memory_size: Count
    registered_wall_ms: WallMs


class WorkerPage(NamedTuple):
    """Workers in the order of their ids."""

    workers: Annotated[list[WorkerView], ListOf(Record(WorkerView), 1000)]
    after: Cursor


class Purged(NamedTuple):
    """So many tasks were `cancelled`; `more` says that the limit stopped it: send again."""

    cancelled: Count
    more: Flag


class MemberRole(StrEnum):
    """What a member does just now, as the node that is asked knows it."""

    LEADER = "leader"
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    NON_VOTING = "non-voting"  # its log was lost: it counts for nothing until it has caught up
    LEARNER = "learner"  # no member yet: it counts for nothing until it was added
    REMOVED = "removed"  # no member any more
    UNREACHABLE = "unreachable"
    FOUNDING = "founding"  # belongs to no cluster yet


class MemberView(NamedTuple):
    """A member of the cluster. What the answering node does not know is nil: a follower knows
    little of the others. `role` is one of `MemberRole`; `state` says more, for people. `level_min`
    and `level_max` are the feature levels that its `version` runs."""

    node_id: Annotated[str, Text(200)]
    address: Annotated[str, Text(300)]
    role: Annotated[str, Text(40)]
    match_index: MaybeCount
    applied_index: MaybeCount
    lag: MaybeCount
    heard_ms_ago: MaybeCount
    free_bytes: MaybeCount
    log_bytes: MaybeCount
    state: Words
    version: Annotated[str, Text(100)] = ""
    level_min: MaybeCount = None
    level_max: MaybeCount = None


class ClusterStatus(NamedTuple):
    """The cluster as `node_id` knows it. `leader` is empty where it knows of none; `cluster_id` is
    empty while the cluster is being founded. `level` is its feature level, `level_possible` the
    highest that all members can run, 0 where the answering node has not heard from one of them."""

    node_id: Annotated[str, Text(200)]
    leader: Annotated[str, Text(200)]
    term: Count
    commit_index: Count
    applied_index: Count
    cluster_id: Annotated[str, Text(64)]
    elapsed_ms: Count
    members: Annotated[list[MemberView], ListOf(Record(MemberView), 100)]
    level: Count = 0
    level_possible: Count = 0


class Upgraded(NamedTuple):
    """The cluster's feature level is `level`; it was `before`, maybe the same."""

    before: Count
    level: Count


class ChangeStage(StrEnum):
    """How far a change of the members is."""

    CONNECTING = "connecting"  # the new node was not reached yet
    CATCHING_UP = "catching up"  # it is being given the log; it counts for nothing
    CHANGING = "changing"  # the entry is in the log, and not committed and applied yet
    DONE = "done"


class MemberChange(NamedTuple):
    """How far the adding or removing of `node_id` is: `stage` is one of `ChangeStage`. `lag`: the
    entries that a node which catches up still lacks. `members`: those that are in force, as
    `[node id, "host:port" of the Raft port]`."""

    node_id: Annotated[str, Text(200)]
    stage: Annotated[str, Text(40)]
    lag: MaybeCount
    members: Annotated[list[list[str]], ListOf(ListOf(Text(300), 2, 2), 100)]


class Transferred(NamedTuple):
    """Another node leads: `leader`, in `term`."""

    leader: Annotated[str, Text(200)]
    term: Count


class Stats(NamedTuple):
    """Counts over the whole cluster.

    `states` maps the name of each state to the number of tasks in it; `totals` maps cumulative
    counts (submitted, completed, failed, removed, ...). submitted = sum(states) + removed, always.
    `durations` are the counts of run times by bucket (`limits.DURATION_BUCKETS_MS`, then the rest).
    """

    states: Annotated[dict[str, int], MapOf(Text(40), Int(0, U63), 100)]
    totals: Annotated[dict[str, int], MapOf(Text(40), Int(0, U63), 100)]
    durations: Annotated[list[int], ListOf(Int(0, U63), 100)]
    duration_sum_ms: Count
    waiting_size: Count
    finished_size: Count
    dead_size: Count
    queues: Count
    workers: Count
    elapsed_ms: Count
    wall_ms: WallMs
    node_id: Annotated[str, Text(200)]
    leader: Annotated[str, Text(200)]
    term: Count
    applied_index: Count
