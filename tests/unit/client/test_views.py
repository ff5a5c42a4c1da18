from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from uuid import UUID

import pytest

from taskq.client.views import outcome_of, queue_status, task_status, worker_status
from taskq.errors import TaskCancelled, TaskExpired, TaskFailed
from taskq.results import Attempt, QueueView, TaskState, TaskView, WorkerView

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def view(**changed) -> TaskView:
    attempt = Attempt(1, "w", 1_000, 2_000, "failed", "boom")
    plain = TaskView(
        *(ID.bytes, 5, "q", "n", 150, {"a": "b"}, 7, 1_000, 0, 2_000, 3_000, 2, 1, 3, 0),
        *("w", 9, False, "", True, b"r", [attempt]),
    )
    return plain._replace(**changed)


def test_a_task():
    status = task_status(view())
    assert status.id == ID
    assert status.state is TaskState.COMPLETED
    assert status.finished
    assert status.submitted_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert status.due_at is None
    assert status.attempts[0].ended_at == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert status.error == "boom"
    # Everything else under its own name, so that no two fields can be swapped.
    wire = view()._asdict()
    for field in dataclasses.fields(status):
        if field.name in wire and field.name not in ("state", "attempts"):
            assert getattr(status, field.name) == wire[field.name], field.name


def test_a_task_that_runs_is_not_finished():
    status = task_status(view(state=3, attempts=[]))
    assert (status.finished, status.error) == (False, "")


def test_a_queue():
    status = queue_status(QueueView("q", True, 1_500, 30_000, 1, 2, 3, 4, 5, 6, 7))
    assert (status.ageing, status.lease, status.ready, status.dead) == (1.5, 30.0, 6, 7)
    assert (status.scheduled, status.retrying, status.leased) == (4, 5, 6)


def test_a_worker():
    status = worker_status(WorkerView(ID.bytes, "w", 4, 1_500, 2, 125, 10, 1_000))
    assert (status.id, status.seen, status.cpu, status.leased) == (ID.hex, 1.5, 12.5, 2)


def test_outcomes():
    assert outcome_of(view()) == b"r"
    with pytest.raises(TaskFailed, match=r"^boom$") as caught:
        outcome_of(view(state=6, reason="out of retries"))
    assert caught.value.task_id == str(ID)
    with pytest.raises(TaskFailed, match="5 leases ended"):
        outcome_of(view(state=6, reason="5 leases ended", attempts=[]))
    with pytest.raises(TaskCancelled):
        outcome_of(view(state=7))
    with pytest.raises(TaskExpired, match="TTL"):
        outcome_of(view(state=8))
