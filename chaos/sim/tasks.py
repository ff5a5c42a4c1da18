"""What producers submit: tasks of every kind, and how they are written into the history."""

from __future__ import annotations

import random
import zlib
from typing import Any

from chaos.sim.caller import RATE_MAX
from taskq.commands import CreateQueue, SubmitTask

# Queue "b" ages: a second of waiting is worth 20 steps of priority.
QUEUES = ("a", "b")
AGEING_MS = {"a": 0, "b": 50}
BACKOFF_MS = 300
PRIORITIES = (50, 150, 255)
DELAY_MS = (300, 800, 2_000)
TTL_MS = (400, 1_500, 5_000)
# "Run at", from what a right clock shows.
RUN_AT_SECS = (-10.0, 1.0, 5.0)


def ageing_queues() -> list[CreateQueue]:
    """Those that have to be made before their first task is."""
    return [CreateQueue(name, ageing) for name, ageing in AGEING_MS.items() if ageing]


def new_task(chance: random.Random, wall_secs: float) -> SubmitTask:
    """A task with an id of its own; `wall_secs`: what a right clock shows now."""
    task_id = chance.randbytes(16)
    task = SubmitTask(
        task_id,
        chance.choice(QUEUES),
        payload=task_id.hex().encode() * chance.randint(1, 12),
        priority=chance.choice(PRIORITIES),
        backoff_ms=BACKOFF_MS,
    )
    drawn = chance.random()
    if drawn < 0.2:
        task = task._replace(delay_ms=chance.choice(DELAY_MS))
    elif drawn < 0.3:
        run_at = wall_secs + chance.choice(RUN_AT_SECS)
        task = task._replace(run_at_wall_ms=round(run_at * 1000))
    if chance.random() < 0.1:
        task = task._replace(ttl_ms=chance.choice(TTL_MS))
    return task


def submitted(task: SubmitTask) -> dict[str, Any]:
    """What the history keeps of a submit."""
    assert task.id is not None
    return {
        "id": task.id.hex(),
        "queue": task.queue,
        "priority": task.priority,
        "size": len(task.payload),
        "crc": zlib.crc32(task.payload),
        "delay_secs": task.delay_ms / 1000 / RATE_MAX,
        "dated": task.run_at_wall_ms is not None,
        "ttl_secs": None if task.ttl_ms is None else task.ttl_ms / 1000 / RATE_MAX,
    }
