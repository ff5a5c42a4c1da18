"""What a worker holds and owes, by a clock that the test sets."""

from __future__ import annotations

import pytest

from taskq.commands import TaskResult
from taskq.results import ClaimedTask
from taskq.worker.held import (
    BATCH_SIZE_MAX,
    HEARTBEAT_REPEAT_SECS,
    OUTCOMES_AHEAD_MAX,
    TIMEOUT_MARGIN_SECS,
    Held,
    Phase,
    batch_count,
)


def task(token: int, lease_ms: int = 30_000, timeout_ms: int | None = None) -> ClaimedTask:
    return ClaimedTask(bytes(16), token, "q", "", b"", {}, 150, 1, lease_ms, timeout_ms, 0)


def claim(held: Held, *tasks: ClaimedTask, now: float = 0.0) -> None:
    """Claims tasks that are new."""
    assert held.claimed(tasks, now) == list(tasks)


@pytest.fixture
def held() -> Held:
    return Held(15.0, 0.0)


def test_what_has_ended_is_held_until_it_is_answered(held: Held) -> None:
    claim(held, task(1), task(2))
    assert held.ended(1) == task(1)
    assert [open_.task.token for open_ in held.unfinished()] == [2]
    assert len(held) == 2
    held.answered(1)
    assert len(held) == 1


def test_unanswered_outcomes_stop_claims(held: Held) -> None:
    claim(held, *(task(token) for token in range(1, OUTCOMES_AHEAD_MAX + 1)))
    for token in range(1, OUTCOMES_AHEAD_MAX + 1):
        assert not held.blocked()
        held.ended(token)
    assert held.blocked()
    held.answered(1)
    assert not held.blocked()


def test_heartbeats_name_what_is_held_until_it_is_answered(held: Held) -> None:
    claim(held, task(1), task(2))
    held.ended(1)
    assert held.tokens() == [1, 2]
    held.answered(1)
    assert held.tokens() == [2]


def test_interval_is_a_third_of_the_shortest_lease(held: Held) -> None:
    assert held.heartbeat_due() == 15.0
    held.claimed([task(1, lease_ms=60_000)], 1.0)
    assert held.interval_secs() == 15.0
    held.claimed([task(2, lease_ms=3_000)], 2.0)
    assert held.interval_secs() == 1.0
    assert held.heartbeat_due() == 3.0


def test_unanswered_heartbeat_is_due_again_soon(held: Held) -> None:
    held.heartbeat_sent(15.0)
    assert held.heartbeat_due() == 15.0 + HEARTBEAT_REPEAT_SECS
    held.heartbeat_answered(15.0, 15.1, [], [])
    assert held.heartbeat_due() == 30.0


def test_run_over_its_time_is_asked_about(held: Held) -> None:
    claim(held, task(1, timeout_ms=5_000), now=1.0)
    due = 6.0 + TIMEOUT_MARGIN_SECS
    assert held.heartbeat_due() == due
    held.heartbeat_sent(due)
    assert held.heartbeat_due() > due  # never at once again, or the loop would spin
    held.heartbeat_answered(due, due + 0.1, [], [])
    assert due < held.heartbeat_due() <= due + HEARTBEAT_REPEAT_SECS + TIMEOUT_MARGIN_SECS


def test_invalid_token_loses_the_run_until_it_has_stopped(held: Held) -> None:
    claim(held, task(1), task(2))
    assert held.heartbeat_answered(1.0, 1.0, [1, 99], []) == ([1], [])
    assert held.tokens() == [2]
    assert len(held.unfinished()) == 2
    assert held.ended(1) is None  # the outcome is dropped
    assert 1 not in held


def test_invalid_token_of_an_outcome_under_way_is_left_to_its_answer(held: Held) -> None:
    claim(held, task(1))
    held.ended(1)
    assert held.heartbeat_answered(1.0, 1.0, [1], []) == ([], [])
    assert held.get(1).phase is Phase.SENDING  # type: ignore[union-attr]


def test_cancellation_is_acted_on_once(held: Held) -> None:
    claim(held, task(1))
    assert held.heartbeat_answered(1.0, 1.0, [], [1, 7]) == ([], [1])
    assert held.heartbeat_answered(2.0, 2.0, [], [1]) == ([], [])
    assert not held.cancel_wanted(1)
    assert not held.cancel_wanted(8)


def test_given_back_run_is_dropped(held: Held) -> None:
    claim(held, task(1))
    held.give_back(1)
    assert held.tokens() == []
    assert not held.ended(1)


def test_time_outs_are_forgotten_with_their_runs(held: Held) -> None:
    claim(held, task(1, timeout_ms=2_000), task(2, timeout_ms=1_000), now=0.0)
    held.give_back(1)
    held.ended(1)
    assert held.heartbeat_due() == 1.0 + TIMEOUT_MARGIN_SECS
    held.ended(2)
    held.answered(2)
    assert held.heartbeat_due() == 10.0  # a third of the lease


def test_claim_answered_twice_is_taken_once(held: Held) -> None:
    assert [new.token for new in held.claimed([task(1)], 0.0)] == [1]
    assert held.claimed([task(1)], 0.0) == []


def test_silence_is_measured_from_the_last_contact(held: Held) -> None:
    assert held.silent_secs(10.0) == 10.0
    held.claimed([], 12.0)
    held.contact(11.0)
    assert held.silent_secs(20.0) == 8.0


def outcome(size: int) -> TaskResult:
    return TaskResult(bytes(16), 1, True, bytes(size))


def test_batch_is_bounded_in_count_and_size() -> None:
    assert batch_count([], 10) == 0
    assert batch_count([outcome(0)] * 20, 10) == 10
    assert batch_count([outcome(BATCH_SIZE_MAX // 2 - 100)] * 5, 10) == 2
    assert batch_count([outcome(5 * BATCH_SIZE_MAX), outcome(0)], 10) == 1
