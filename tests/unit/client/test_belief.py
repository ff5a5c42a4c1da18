from __future__ import annotations

import pytest

from taskq.client.belief import doubted
from taskq.commands import CancelTask, DeleteDead, QueryStatus, SubmitTask, TaskResult
from taskq.errors import ErrorCode, Refusal, refuse

PROVING = {
    *("INVALID_REQUEST", "UNSUPPORTED_VERSION", "UNKNOWN_MESSAGE", "ALREADY_EXISTS"),
    *("PAYLOAD_TOO_LARGE", "RESULT_TOO_LARGE", "STALE_TOKEN", "NOT_FOUND"),
}


@pytest.mark.parametrize("code", ErrorCode)
def test_what_a_refusal_proves_after_an_unknown_attempt(code):
    refusal = refuse(code, "no", 10)
    assert doubted(refusal, unknown=False, kind=SubmitTask) == refusal
    after = doubted(refusal, unknown=True, kind=SubmitTask)
    assert after.unknown == (code.value not in PROVING)
    assert (after.code, after.retry_after_ms) == (code.value, 10)
    if after.unknown:
        assert "may have been carried out" in after.message
        assert f"no [{code.value}]" in after.message


def test_a_deleted_task_is_not_found_by_the_repeat():
    missing = refuse(ErrorCode.NOT_FOUND, "no such task")
    assert doubted(missing, unknown=True, kind=DeleteDead).unknown
    assert not doubted(missing, unknown=True, kind=CancelTask).unknown
    assert not doubted(missing, unknown=True, kind=TaskResult).unknown


def test_a_code_of_a_newer_node_proves_nothing():
    assert doubted(Refusal("NEW", "no"), unknown=True, kind=SubmitTask).unknown


def test_a_question_has_no_unknown_outcome():
    refusal = Refusal(ErrorCode.UNAVAILABLE.value, "stopping", 0, True)
    assert not doubted(refusal, unknown=True, kind=QueryStatus).unknown
