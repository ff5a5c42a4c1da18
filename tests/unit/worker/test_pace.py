"""How many tasks a worker claims, by what its runs took."""

from __future__ import annotations

from taskq.worker.pace import AHEAD_MAX, HORIZON_SECS, NAMES_MAX, Pace


def after(*secs: float, concurrency: int = 2, prefetch: int | None = None) -> Pace:
    pace = Pace(concurrency, prefetch)
    for one in secs:
        pace.ended("a", one)
    return pace


def test_nothing_is_claimed_ahead_before_anything_is_known() -> None:
    assert after().claimable(0, 0.0) == 2
    assert after().claimable(2, 0.0) == 0
    assert after().claimable(5, 0.0) == 0


def test_short_runs_are_claimed_ahead_and_long_ones_not() -> None:
    assert after(0.00001).claimable(0, 0.0) == 2 + AHEAD_MAX
    assert after(0.010).claimable(0, 0.0) == 2 + 10
    assert after(1.0).claimable(0, 0.0) == 2


def test_one_long_run_counts_at_once_and_short_ones_slowly() -> None:
    pace = after(0.00001, 10.0)
    assert pace.claimable(0, 0.0) == 2
    for _ in range(3):
        pace.ended("a", 0.00001)
    assert pace.claimable(0, 0.0) == 2
    for _ in range(60):
        pace.ended("a", 0.00001)
    assert pace.claimable(0, 0.0) > 100


def test_nothing_is_claimed_ahead_while_all_slots_are_stuck() -> None:
    pace = after(0.00001)
    assert pace.claimable(2, HORIZON_SECS * 1.1) == 0
    assert pace.claimable(1, HORIZON_SECS * 1.1) == 1 + AHEAD_MAX


def test_a_fixed_number_is_kept() -> None:
    assert after(prefetch=5).claimable(0, 0.0) == 7
    assert after(10.0, prefetch=5).claimable(3, 99.0) == 4
    assert after(0.00001, prefetch=0).claimable(0, 0.0) == 2


def test_guesses_are_by_name_and_names_are_bounded() -> None:
    pace = after(0.5)
    assert pace.expect("a") == 0.5
    assert pace.expect("b") == float("inf")
    for number in range(2 * NAMES_MAX):
        pace.ended(str(number), 0.001)
    assert len(pace._by_name) <= NAMES_MAX
