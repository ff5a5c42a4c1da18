"""What follows a failed run: another one after a growing delay, or death.

Delay before retry n: backoff_ms * 2^(n-1), at most backoff_max_ms, +-20 % computed from the task's
id and attempt, so that every node computes the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from taskq.limits import ERROR_SIZE_MAX
from taskq.machine.dead_letter import bury
from taskq.machine.ending import cancel_now, cut, last_line, record_attempt
from taskq.machine.schedule import wait_until
from taskq.machine.task import BY_ELAPSED, RETRYING, Task
from taskq.machine.ttl import start_ttl

if TYPE_CHECKING:
    from taskq.machine.state import State

JITTER_PERMILLE = 200


def retry_delay_ms(task: Task) -> int:
    """Delay before retry number `task.retries` (from 1), in milliseconds of cluster time."""
    delay = task.backoff_ms << min(task.retries - 1, 40)
    delay = min(delay, task.backoff_max_ms)
    lot = crc32(task.id + task.attempt.to_bytes(8, "big")) % (2 * JITTER_PERMILLE + 1)
    return min(delay * (1000 - JITTER_PERMILLE + lot) // 1000, task.backoff_max_ms)


def fail_run(state: State, task: Task, outcome: str, error: str, *, retry: bool) -> None:
    """The run failed (outcome `failed` or `timeout`). The lease has ended; the caller saves."""
    state.counters.failed += 1
    error = cut(error, ERROR_SIZE_MAX)
    record_attempt(state, task, outcome, error)
    if task.cancel_requested:
        cancel_now(state, task, "cancelled while running")
    elif not retry or task.retries >= task.max_retries:
        bury(state, task, last_line(error) or outcome)
    else:
        task.retries += 1
        task.place = b""  # at the end of its priority when it comes back
        state.counters.retried += 1
        wait_until(state, task, RETRYING, BY_ELAPSED, state.elapsed + retry_delay_ms(task))
        start_ttl(state, task)
    # What a repeat of this outcome is answered with, whatever becomes of the task.
    task.outcome_state = task.state
