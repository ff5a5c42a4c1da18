from __future__ import annotations

import pytest

from taskq.client.belief import doubted
from taskq.commands import Ack, CancelTask, DeleteDead, Nack, QueryStatus, SubmitTask, TaskResult
from taskq.errors import ErrorCode, Refusal, refuse

PROVING = {
    *("INVALID_REQUEST", "UNSUPPORTED_VERSION", "UNKNOWN_MESSAGE", "ALREADY_EXISTS"),
    *("PAYLOAD_TOO_LARGE", "RESULT_TOO_LARGE"),
}
ID = b"i" * 16
SUBMIT = SubmitTask(ID, "q")


@pytest.mark.parametrize("code", ErrorCode)
def test_what_a_refusal_proves_after_an_unknown_attempt(code):
    refusal = refuse(code, "no", 10)
    assert doubted(refusal, unknown=False, command=SUBMIT) == refusal
    after = doubted(refusal, unknown=True, command=SUBMIT)
    assert after.unknown == (code.value not in PROVING)
    assert (after.code, after.retry_after_ms) == (code.value, 10)
    if after.unknown:
        assert "may have been carried out" in after.message
        assert f"no [{code.value}]" in after.message


@pytest.mark.parametrize(
    "command", [DeleteDead([ID]), CancelTask(ID), Ack(ID, 1), TaskResult(ID, 1, False)]
)
def test_what_is_not_found_may_be_gone_because_of_the_first_attempt(command):
    missing = refuse(ErrorCode.NOT_FOUND, "no such task")
    assert doubted(missing, unknown=True, command=command).unknown


def test_a_stale_token_proves_something_only_about_completions():
    stale = refuse(ErrorCode.STALE_TOKEN, "not valid")
    # An accepted completion is answered as accepted for as long as the task is known.
    assert not doubted(stale, unknown=True, command=Ack(ID, 1)).unknown
    assert not doubted(stale, unknown=True, command=TaskResult(ID, 1, True)).unknown
    # A failed or released task may have been claimed anew: the token is stale in either case.
    assert doubted(stale, unknown=True, command=TaskResult(ID, 1, False)).unknown
    assert doubted(stale, unknown=True, command=Nack(ID, 1)).unknown


def test_a_code_of_a_newer_node_proves_nothing():
    assert doubted(Refusal("NEW", "no"), unknown=True, command=SUBMIT).unknown


def test_a_question_has_no_unknown_outcome():
    refusal = Refusal(ErrorCode.UNAVAILABLE.value, "stopping", 0, True)
    assert not doubted(refusal, unknown=True, command=QueryStatus(ID)).unknown
