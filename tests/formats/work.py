"""Work that leaves tasks in every state, queues with settings, a worker and claims behind."""

from __future__ import annotations

import time
from typing import Any

from taskq import Client
from taskq.commands import (
    CancelTask,
    ClaimTask,
    CreateQueue,
    DeleteDead,
    GetStats,
    Nack,
    PauseQueue,
    QueryStatus,
    RedriveDead,
    RegisterWorker,
    SubmitTask,
    TaskResult,
)
from taskq.errors import Refusal
from taskq.results import TaskState, TaskView

DAY_MS = 86_400_000
WORKER = b"w" * 16
LARGE = b"large " * 300  # does not fit a task's head
STATES = {state.name.lower() for state in TaskState}


def task_id(number: int) -> bytes:
    """The same every time."""
    return number.to_bytes(16, "big")


def do(client: Client) -> None:
    """Everything, in order. Raises AssertionError where not every state is there in the end."""
    call = client.call
    call(CreateQueue("aged", ageing_ms=1_000, lease_ms=60_000))
    call(RegisterWorker(WORKER, "worker", 4, 3_600_000))
    names = ("completed", "large result", "dead", "redriven", "", "deleted", "retrying", "released")
    for number, name in enumerate(names, 1):
        if not name:
            continue  # the claim that follows the redrive has this number
        payload = LARGE if name == "large result" else name.encode()
        submit(client, number, name, payload, backoff_ms=DAY_MS, backoff_max_ms=DAY_MS)
        token = claim(client, number)
        outcome(client, task_id(number), token, name)
    submit(client, 10, "leased", LARGE, timeout_ms=DAY_MS)
    claim(client, 10)
    submit(client, 11, "scheduled", b"later", delay_ms=DAY_MS)
    submit(client, 12, "cancelled", b"")
    call(CancelTask(task_id(12)))
    submit(client, 13, "expired", b"", ttl_ms=1)
    for number in range(14, 18):
        ready = SubmitTask(task_id(number), "aged", "ready", LARGE[: number * 100], number * 10)
        call(ready._replace(headers={"trace": str(number)}, ttl_ms=DAY_MS))
    call(PauseQueue("aged"))
    deadline = time.monotonic() + 10
    while set(counts(client)) != STATES:
        assert time.monotonic() < deadline, counts(client)
        time.sleep(0.1)


def submit(client: Client, number: int, name: str, payload: bytes, **fields: Any) -> None:
    """One task of the queue `work`."""
    client.call(SubmitTask(task_id(number), "work", name, payload, **fields))


def claim(client: Client, number: int) -> int:
    """Takes the only ready task of that queue; its token."""
    lease = {"lease_ms": DAY_MS, "max_tasks": 1}
    (task,) = client.call(ClaimTask(WORKER, number, number, ["work"], **lease)).tasks
    return int(task.token)


def outcome(client: Client, task: bytes, token: int, name: str) -> None:
    """What the task's name says."""
    call = client.call
    if name == "released":
        call(Nack(task, token, DAY_MS))
    elif name == "retrying":
        call(TaskResult(task, token, False, None, "again"))
    elif name in ("dead", "redriven", "deleted"):
        call(TaskResult(task, token, False, None, name, False))
        if name == "deleted":
            call(DeleteDead([task]))
        if name == "redriven":
            call(RedriveDead([task]))
            again = claim(client, 5)
            call(TaskResult(task, again, True, b"in the end"))
    else:
        call(TaskResult(task, token, True, LARGE if name.startswith("large") else b"result"))


def counts(client: Client) -> dict[str, int]:
    """States that have tasks."""
    states = client.call(GetStats()).states
    return {name: count for name, count in states.items() if count}


def told(view: TaskView | Refusal) -> list[Any]:
    """All that is known of a task, or that it is not known, as JSON has it."""
    return [_plain(value) for value in view]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


QUESTIONS = [QueryStatus(task_id(number)) for number in range(1, 18)]
