"""What a function may ask about its task."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from taskq.errors import StaleToken, TaskqError
from taskq.worker.context import TaskContext, current_task, enter


def granted(token: int, lease_ms: int | None) -> Future[int]:
    future: Future[int] = Future()
    if token == 7:
        future.set_result(lease_ms or 30_000)
    else:
        future.set_exception(StaleToken("STALE_TOKEN", "lost"))
    return future


def context(token: int = 7) -> TaskContext:
    return TaskContext(bytes(15) + b"\1", token, "q", "f", 2, {"a": "b"}, 86_400.0, granted)


def test_fields() -> None:
    task = context()
    assert task.id == UUID(int=1)
    assert (task.token, task.queue, task.name, task.attempt) == (7, "q", "f", 2)
    assert task.headers == {"a": "b"}
    assert task.deadline == datetime(1970, 1, 2, tzinfo=UTC)
    assert TaskContext(bytes(16), 1, "q", "f", 1, {}).deadline is None


def test_cancellation_is_seen() -> None:
    task = context()
    assert not task.is_cancelled
    task.cancel()
    assert task.is_cancelled


def test_extend_says_what_was_granted_or_why_not() -> None:
    assert context().extend(90) == timedelta(seconds=90)
    assert context().extend() == timedelta(seconds=30)
    with pytest.raises(StaleToken):
        context(8).extend()
    with pytest.raises(ValueError, match="lease"):
        context().extend(-1)
    with pytest.raises(TaskqError, match="no lease"):
        TaskContext(bytes(16), 1, "q", "f", 1, {}).extend()


async def test_extend_in_a_coroutine() -> None:
    assert await context().extend_async(timedelta(minutes=1)) == timedelta(minutes=1)
    with pytest.raises(RuntimeError, match="extend_async"):
        context().extend()


def test_current_task_is_that_of_the_caller() -> None:
    with pytest.raises(LookupError, match="inside a function"):
        current_task()
    import contextvars

    def inside() -> TaskContext:
        enter(mine)
        return current_task()

    mine = context()
    assert contextvars.copy_context().run(inside) is mine
