"""Bounds of time: where clocks of nodes are wrong, and while nobody serves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from chaos.checkers import Evidence, violations
from chaos.checkers.clocks import ROUNDING_SECS, Clocks, Skew
from chaos.checkers.reclaim import leases_end_in_time
from chaos.checkers.service import Service
from chaos.history import Call, History, Kill
from tests.unit.chaos.small_histories import (
    A,
    claim,
    complete,
    final,
    heartbeat,
    refused,
    status,
    submit,
    task,
    unknown,
)

DONE = final({A: task("COMPLETED", 2, 2, f"{A} by 2")})


def reclaimed(at: float) -> History:
    """A lease of one second that began at 1.0 and was reclaimed."""
    calls = [submit(A, 0.0), claim(1.0, (A, 1)), claim(at, (A, 2)), complete(A, 2, at + 0.1)]
    return History(calls, [], DONE)


@pytest.mark.parametrize(
    ("at", "rate", "jump_secs", "early"),
    [
        pytest.param(1.99, (1.0, 1.0), 0.0, False, id="right clocks"),
        pytest.param(1.93, (1.0, 1.0), 0.0, True, id="right clocks, early"),
        pytest.param(1.93, (0.9, 1.1), 0.0, False, id="fast clocks"),
        pytest.param(1.88, (0.9, 1.1), 0.0, True, id="fast clocks, early"),
        pytest.param(1.55, (1.0, 1.0), 0.5, False, id="a clock jumped"),
        pytest.param(1.40, (1.0, 1.0), 0.5, True, id="a clock jumped, early"),
    ],
)
def test_no_lease_ends_before_the_fastest_clock_says_so(
    at: float, rate: tuple[float, float], jump_secs: float, early: bool
) -> None:
    found = violations(reclaimed(at), clock_rate=rate, clock_jump_secs=jump_secs)
    assert {line.partition(":")[0] for line in found} == (
        {"leases_end_late", "linearizable"} if early else set()
    )


@pytest.mark.parametrize(
    ("since", "secs"),
    [
        pytest.param(7.0, 1.0, id="over before it begins"),
        pytest.param(9.5, 0.5, id="a jump as soon as it may be"),
        pytest.param(9.0, 1.0, id="in time without it"),
        pytest.param(12.0, 0.25, id="a jump, and the rest at the faster rate"),
        pytest.param(19.9, 0.4, id="just before its end"),
        pytest.param(20.1, 1.0, id="after it"),
    ],
)
def test_wrong_clocks_shorten_what_they_may_have_met(since: float, secs: float) -> None:
    clocks = Clocks([Skew(10.0, 20.0, 1.0, 2.0, 0.5)])
    assert clocks.at_least(1.0, since) == pytest.approx(secs - ROUNDING_SECS)


def test_what_begins_later_never_ends_earlier() -> None:
    clocks = Clocks([Skew(10.0, 20.0, 0.9, 1.1, 0.5), Skew(15.0, 16.0, 1.0, 1.5, 0.3)])
    for length in (0.2, 1.0, 3.0):
        ends = [since / 50 + clocks.at_least(length, since / 50) for since in range(1100)]
        assert all(one <= other for one, other in pairwise(ends))


@pytest.mark.parametrize(
    ("since", "early"),
    [(1.5, False), (2.5, True)],
    ids=["while the clock was wrong", "before it was"],
)
def test_a_history_tells_when_its_clocks_were_wrong(since: float, early: bool) -> None:
    history = reclaimed(1.55)
    history.kills = [Kill(since, "jump", {}, served=True, over=4.0, clock=[1.0, 1.0, 0.5])]
    history.calls.append(submit(A, 5.0))
    found = {line.partition(":")[0] for line in violations(history)}
    assert found == ({"leases_end_late", "linearizable"} if early else set())


@pytest.mark.parametrize(("fastest", "early"), [(1.0, True), (1.1, False)])
def test_no_delay_ends_before_the_fastest_clock_says_so(fastest: float, early: bool) -> None:
    history = History(
        [submit(A, 0.0, 1.0), claim(0.95, (A, 1)), claim(2.0, (A, 2)), complete(A, 2, 2.1)],
        [],
        DONE,
    )
    found = violations(history, clock_rate=(1.0, fastest))
    assert any(line.startswith("never_early") for line in found) is early


# --- leases that last too long --------------------------------------------------------------------


def busy(*calls: Call, since: float = 0.0, until: float = 9.0, step: float = 0.2) -> list[Call]:
    """The calls, and submits that are acknowledged all the time."""
    count = int((until - since) / step) + 1
    return [*calls, *(submit(A, since + place * step) for place in range(count))]


def too_long(calls: list[Call], *kills: Kill, slowest: float = 1.0) -> bool:
    calls.sort(key=lambda call: call.start)
    history = History(calls, list(kills), DONE)
    return bool(list(leases_end_in_time(Evidence(history, clock_rate=(slowest, 1.0)))))


CLAIM = claim(1.0, (A, 1))


def test_a_token_is_not_accepted_long_after_its_lease() -> None:
    assert not too_long(busy(CLAIM, complete(A, 1, 2.9)))
    assert too_long(busy(CLAIM, complete(A, 1, 3.3)))
    assert too_long(busy(CLAIM, heartbeat(1, 3.3)))
    assert too_long(busy(CLAIM, status(A, 3.3, "LEASED", token=1)))
    assert not too_long(busy(CLAIM, status(A, 3.3, "LEASED", token=2)))


def test_an_extension_counts_from_its_end() -> None:
    assert not too_long(busy(CLAIM, heartbeat(1, 1.8), complete(A, 1, 3.3)))
    assert too_long(busy(CLAIM, heartbeat(1, 1.8), complete(A, 1, 4.2)))
    assert not too_long(busy(CLAIM, unknown(heartbeat(1, 1.8)), complete(A, 1, 4.2)))


def test_a_repeat_of_what_was_accepted_is_none() -> None:
    assert not too_long(busy(CLAIM, complete(A, 1, 1.5), complete(A, 1, 5.0)))
    assert not too_long(busy(CLAIM, unknown(complete(A, 1, 1.5)), complete(A, 1, 5.0)))
    assert not too_long(busy(CLAIM, refused(complete(A, 1, 5.0), "STALE_TOKEN")))


def test_slow_clocks_take_longer() -> None:
    assert too_long(busy(CLAIM, complete(A, 1, 3.3)), slowest=0.95)
    assert not too_long(busy(CLAIM, complete(A, 1, 3.3)), slowest=0.7)


def test_time_without_service_does_not_count() -> None:
    served = [*busy(until=2.0), *busy(since=5.0)]
    assert not too_long([*served, CLAIM, complete(A, 1, 5.9)])
    assert too_long([*served, CLAIM, complete(A, 1, 6.5)])


def test_in_a_fault_only_frequent_answers_are_service() -> None:
    kill = Kill(1.5, "leader-crash", {}, served=True, over=8.0)
    calls = [submit(A, 0.0), CLAIM, complete(A, 1, 5.0)]
    assert not too_long(busy(*calls), kill)
    assert too_long(busy(*calls, step=0.05), kill)


def test_service_is_summed() -> None:
    history = History(busy(until=2.0) + busy(since=5.0, until=6.0), [], DONE)
    service = Service(Evidence(history))
    assert service.secs(0.0, 9.0) == pytest.approx(3.0)
    assert service.secs(1.0, 5.5) == pytest.approx(1.2, abs=0.21)
    assert service.secs(2.1, 4.9) == 0.0
    assert service.begun_after(5.9)
    assert not service.begun_after(6.0)
