from __future__ import annotations

import gc
from concurrent.futures import Future

import pytest

from taskq.client.call import REPEAT_WINDOW_SECONDS, Call
from taskq.commands import ClaimTask, GetStats, QueryStatus, SubmitTask, SubmitTasks
from taskq.errors import (
    ConnectionFailed,
    ErrorCode,
    OutcomeUnknown,
    QueueFull,
    Refusal,
    Unavailable,
    refuse,
)
from taskq.limits import DEDUP_WINDOW_MS_DEFAULT
from taskq.results import BatchReply, Submitted, TaskPage

FULL = refuse(ErrorCode.QUEUE_FULL, "full", 10)
NO_LEADER = refuse(ErrorCode.NO_LEADER, "an election is on")


def call(command=None, deadline: float = 30.0, **how) -> Call:
    return Call(command or SubmitTask(b"i" * 16, "q"), deadline, Future(), **how)


def error_of(ended: Call) -> BaseException | None:
    return ended.future.exception(timeout=0)


def test_repeats_end_before_the_cluster_forgets():
    assert REPEAT_WINDOW_SECONDS < DEDUP_WINDOW_MS_DEFAULT / 1000
    patient = call(deadline=100_000.0)
    patient.next_attempt(10.0)
    patient.next_attempt(500.0)
    patient.lose()
    assert patient.deadline == 10.0 + REPEAT_WINDOW_SECONDS
    hasty = call(deadline=30.0)
    hasty.next_attempt(10.0)
    hasty.lose()
    assert hasty.deadline == 30.0


def test_a_call_that_was_never_sent_may_wait_as_long_as_it_likes():
    patient = call(deadline=100_000.0)
    patient.lose()
    assert patient.deadline == 100_000.0


@pytest.mark.parametrize(
    ("sent", "lost", "refusal", "error", "words"),
    [
        (False, False, None, ConnectionFailed, "not sent within 5 s: why"),
        (True, False, None, OutcomeUnknown, "no answer within 5 s; it may have been carried out"),
        (True, True, None, OutcomeUnknown, "may have been carried out"),
        (False, False, NO_LEADER, Unavailable, "an election is on"),
        (True, False, NO_LEADER, OutcomeUnknown, "may have been carried out"),
        (False, True, NO_LEADER, OutcomeUnknown, "may have been carried out"),
    ],
)
def test_what_a_deadline_means(sent, lost, refusal, error, words):
    ended = call()
    ended.refusal = refusal
    if lost:
        ended.lose()
    ended.connection = object() if sent else None
    ended.expire("5 s", ": why")
    assert type(error_of(ended)) is error
    assert words in str(error_of(ended))


@pytest.mark.parametrize("lost", [False, True])
def test_a_question_changed_nothing_whatever_became_of_it(lost):
    ended = call(GetStats())
    if lost:
        ended.lose()
    ended.connection = object()
    ended.expire("5 s", "")
    assert type(error_of(ended)) is ConnectionFailed


def test_which_refusals_are_worth_another_attempt():
    again = {code for code in ErrorCode if call().wants_another_attempt(refuse(code, "no"))}
    assert again == {
        ErrorCode.NO_LEADER,
        ErrorCode.UNAVAILABLE,
        ErrorCode.TOO_MANY_REQUESTS,
        ErrorCode.TOO_MANY_CONNECTIONS,
    }
    waiting = {
        code
        for code in ErrorCode
        if call(retry_full=True).wants_another_attempt(refuse(code, "no"))
    }
    assert waiting == again | {ErrorCode.QUEUE_FULL, ErrorCode.DISK_FULL}


def test_an_unknown_outcome_told_by_a_node_stays_so():
    told = call()
    assert told.wants_another_attempt(Refusal(ErrorCode.DEADLINE_EXCEEDED.value, "late", 0, True))
    told.refuse(FULL)
    assert type(error_of(told)) is OutcomeUnknown


def test_a_refusal_of_the_first_attempt_is_what_it_says():
    refused = call()
    refused.refuse(FULL)
    assert type(error_of(refused)) is QueueFull
    assert error_of(refused).retry_after == 0.01


def test_an_ended_call_keeps_neither_payload_nor_caller():
    done = call(late=print)
    done.succeed(Submitted(b"i" * 16))
    assert (done.command, done.late) == (None, None)
    failed = call(late=print)
    failed.fail(ConnectionFailed("x"))
    assert failed.command is None
    assert failed.late is print  # an answer may still come


def test_an_ended_call_does_not_hold_the_reply():
    ended = call()
    future = ended.future
    reply = TaskPage([], b"large")
    ended.succeed(reply)
    assert future.result() is reply
    assert ended.future.done()
    assert ended not in gc.get_referrers(future)


def test_a_second_end_changes_nothing():
    ended = call()
    ended.fail(ConnectionFailed("first"))
    ended.fail(ConnectionFailed("second"))
    assert str(error_of(ended)) == "first"


def test_the_members_of_a_batch_are_doubted_after_a_lost_attempt():
    batch = SubmitTasks([SubmitTask(b"i" * 16, "q"), SubmitTask(b"j" * 16, "q")])
    reply = BatchReply([[True, [b"i" * 16]], [False, list(FULL)]])
    sure, unsure = call(batch), call(batch)
    futures = sure.future, unsure.future
    unsure.lose()
    sure.succeed(reply)
    unsure.succeed(reply)
    assert futures[0].result() == reply
    good, bad = futures[1].result().answers
    assert good == [True, [b"i" * 16]]
    assert (bad[0], Refusal(*bad[1]).unknown) == (False, True)


def test_what_parks_and_for_how_long():
    assert call(QueryStatus(b"i" * 16, 10)).parks
    assert not call(QueryStatus(b"i" * 16)).parks
    claim = call(ClaimTask(b"w" * 16, 1, 1, ["q"], 1, 10_000))
    assert claim.next_attempt(5.0).wait_ms == 10_000
    assert claim.next_attempt(9.0).wait_ms == 6_000
    assert claim.next_attempt(99.0).wait_ms == 0
    assert claim.next_attempt(9.0).claim_number == 1


@pytest.mark.parametrize(
    ("refusal", "elsewhere", "pauses"),
    [
        (Refusal("UNAVAILABLE", "lost", 0, True), False, [0.0, 0.05, 0.1, 0.2]),
        (Refusal("NO_LEADER", "lost", 200, True), False, [0.0, 0.2, 0.2, 0.2]),
        (refuse(ErrorCode.UNAVAILABLE, "stopping", 1_000), True, [0.0, 1.0, 1.0, 1.0]),
        (NO_LEADER, False, [0.05, 0.05, 0.05, 0.05]),
        (refuse(ErrorCode.TOO_MANY_REQUESTS, "full", 300), False, [0.3, 0.3, 0.3, 0.3]),
    ],
)
def test_the_first_repeat_is_at_once_where_another_answer_is_to_be_expected(
    refusal: Refusal, elsewhere: bool, pauses: list[float]
):
    repeated = call()
    found = []
    for _ in pauses:
        assert repeated.wants_another_attempt(refusal)
        found.append(repeated.pause(refusal, elsewhere=elsewhere))
    assert found == pauses


def test_pauses_between_repeats_do_not_grow_for_ever():
    repeated = call()
    lost = Refusal("UNAVAILABLE", "lost", 0, True)
    for _ in range(100):
        repeated.wants_another_attempt(lost)
    assert repeated.pause(lost, elsewhere=False) == 1.0
