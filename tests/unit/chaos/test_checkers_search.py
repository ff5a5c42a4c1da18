"""The search for an order of one task's calls: against all orders there are, and by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, combinations, permutations
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.checkers import Evidence, violations
from chaos.checkers.clocks import Clocks
from chaos.checkers.linear import linearizability
from chaos.checkers.search import Event, search
from chaos.checkers.task_model import Act, State, TaskModel
from chaos.checkers.tokens import Untold
from chaos.history import Call, History, Kill
from tests.unit.chaos.small_histories import (
    A,
    B,
    call,
    claim,
    complete,
    fail,
    final,
    heartbeat,
    refused,
    release,
    status,
    submit,
    task,
    unknown,
)

LEASE_SECS = 2.0
EVENTS_MAX = 5
STATES = ("SCHEDULED", "READY", "LEASED", "RETRYING", "COMPLETED", "DEAD", "CANCELLED")


def model() -> TaskModel:
    """Of a task that may have had tokens 1 to 5, of which clients know but 4."""
    history = History([claim(0.0, (A, 1), (A, 2), (A, 3), (A, 5))], [], final({A: task("READY")}))
    history.calls[0].end = inf
    return TaskModel(Clocks(), Untold(Evidence(history)), 5, None)


# --- against all orders ---------------------------------------------------------------------------


def explained_by_brute_force(rules: TaskModel, events: Sequence[Event]) -> bool:
    """Tries every order of the sure events and of every choice of the others."""
    sure = [event for event in events if event.sure]
    others = [event for event in events if not event.sure]
    chosen = chain.from_iterable(combinations(others, count) for count in range(len(others) + 1))
    return any(
        _fits(rules, order, State(), -inf)
        for some in chosen
        for order in permutations([*sure, *some])
    )


def _fits(rules: TaskModel, order: Sequence[Event], state: State, now: float) -> bool:
    if not order:
        return True
    event, *rest = order
    for before, moment in _alone(rules, state, now, event.end):
        then = max(moment, event.start)
        if then <= event.end and any(
            _fits(rules, rest, after, then) for after in rules.after(before, event.act, then)
        ):
            return True
    return False


def _alone(
    rules: TaskModel, state: State, now: float, until: float
) -> Iterator[tuple[State, float]]:
    yield state, now
    for after, moment in rules.by_itself(state, now):
        if moment <= until:
            yield from _alone(rules, after, moment, until)


def _act(chance: random.Random, state: State) -> Act:
    """Some call, mostly one that fits a task in this state."""
    token = state.token if chance.random() < 0.8 else chance.choice((1, 2, 3, 5))
    name = state.name if chance.random() < 0.6 else chance.choice(STATES)
    reply: dict[str, Any] | None = {"state": name}
    kind = chance.choice(
        (
            *("submit", "claim", "claim", "complete", "fail", "release", "extend", "heartbeat"),
            *("stale", "cancel", "deregister", "status", "status", "absent"),
        )
    )
    args = {
        "id": A,
        "token": token,
        "delay_secs": chance.choice((0.0, 0.0, 1.0)),
        "backoff_secs": 1.0,
        "retry": chance.random() < 0.7,
        "force": chance.random() < 0.5,
        "result": f"by {token}",
    }
    if kind == "claim":
        reply, token = {"attempt": None}, chance.choice((1, 2, 3, 5))
    elif kind == "heartbeat":
        reply = {"cancel": [token] if state.wanted else []}
    elif kind == "cancel":
        reply = {"state": name, "requested": name == "LEASED"}
    elif kind == "status":
        reply = {"state": name, "token": token, "cancel_requested": state.wanted}
    elif kind in ("complete", "fail", "release"):
        names = {"complete": "COMPLETED", "fail": "RETRYING", "release": "READY"}
        reply = {"state": names[kind] if chance.random() < 0.7 else chance.choice(STATES)}
    if kind != "claim" and kind != "status" and chance.random() < 0.1:
        reply = None
    return Act(kind, Call(kind, 0.0, args), reply, token, LEASE_SECS)


def some_events(rules: TaskModel, chance: random.Random) -> list[Event]:
    """A life of the task in which each call takes some time; then perhaps one lie."""
    state, now, events = State(), 0.0, []
    first = Call("submit", 0.0, {"id": A, "delay_secs": chance.choice((0.0, 0.0, 1.0))})
    act = Act("submit", first, {})
    for _ in range(EVENTS_MAX * 30):
        for moved, moment in rules.by_itself(state, now):
            if chance.random() < 0.1:
                state, now = moved, max(now, moment)
        after = list(rules.after(state, act, now))
        if after:
            sure = act.kind in ("claim", "status") or chance.random() < 0.85
            end = now + chance.choice((0.0, 0.5, 1.5, 3.0)) if sure else inf
            events.append(Event(now - chance.choice((0.0, 0.5, 1.5)), end, act, sure))
            state = after[0]
            if len(events) == EVENTS_MAX:
                break
        now += chance.choice((0.0, 0.2, 0.7))
        act = _act(chance, state)
    if chance.random() < 0.8 and events:
        place = chance.randrange(len(events))
        lied = events[place]._replace(act=_act(chance, state))
        if chance.random() < 0.4:
            start = chance.uniform(0, 5)
            lied = events[place]._replace(start=start, end=start + 0.1, sure=True)
        events[place] = lied
    chance.shuffle(events)
    return events


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_the_search_finds_an_order_exactly_where_there_is_one(seed: int) -> None:
    rules = model()
    events = some_events(rules, random.Random(seed))
    assert search(rules, events).explained is explained_by_brute_force(rules, events)


def test_both_answers_are_common_among_them() -> None:
    rules, chance = model(), random.Random(1)
    found = [search(rules, some_events(rules, chance)).explained for _ in range(100)]
    assert 20 < sum(one is True for one in found) < 80


# --- by hand --------------------------------------------------------------------------------------


def judged(calls: list[Call], end: dict[str, Any], *kills: Kill) -> list[str]:
    """What `linearizable` says of a history of task A."""
    history = History(calls, list(kills), final({A: end}))
    return linearizability(Evidence(history)).broken


def test_a_call_without_an_answer_may_take_effect_later_or_never() -> None:
    lost = unknown(complete(A, 1, 1.0))
    before = [submit(A, 0.0), claim(0.5, (A, 1)), lost]
    done = task("COMPLETED", 1, 1, f"{A} by 1")
    assert judged([*before, status(A, 1.5, "LEASED")], done) == []
    assert judged(before, task("READY", 1, 1)) == []
    # Not both: once it was seen, it stays.
    assert judged([*before, status(A, 1.5, "COMPLETED")], task("READY", 1, 1)) != []


def test_calls_under_way_together_may_come_in_any_order() -> None:
    slow = status(A, 0.9, "READY")
    slow.end = 1.2
    calls = [submit(A, 0.0), slow, claim(1.0, (A, 1)), complete(A, 1, 1.3)]
    done = task("COMPLETED", 1, 1, f"{A} by 1")
    assert judged(calls, done) == []
    slow.start = 1.05  # after the claim was answered
    assert judged(calls, done) != []


def test_a_read_does_not_go_back() -> None:
    """Two reads during a slow call: the first saw it, the second did not."""
    slow = complete(A, 1, 1.0)
    slow.end = 2.0
    calls = [submit(A, 0.0), claim(0.5, (A, 1), lease=5.0), slow]
    done = task("COMPLETED", 1, 1, f"{A} by 1")
    assert judged([*calls, status(A, 1.2, "LEASED"), status(A, 1.4, "COMPLETED")], done) == []
    assert judged([*calls, status(A, 1.2, "COMPLETED"), status(A, 1.4, "LEASED")], done) != []


def test_a_lease_ends_by_itself_but_not_before_its_time() -> None:
    calls = [submit(A, 0.0), claim(1.0, (A, 1)), heartbeat(1, 1.5)]
    again = task("READY", 1, 1)
    assert judged([*calls, status(A, 2.495, "READY")], again) == []
    assert judged([*calls, status(A, 2.47, "READY")], again) != []


def test_a_retry_is_not_ready_before_its_time() -> None:
    calls = [submit(A, 0.0), claim(1.0, (A, 1)), fail(A, 1, 1.2)]
    again = task("READY", 1, 1)
    assert judged([*calls, status(A, 1.36, "READY")], again) == []
    assert judged([*calls, status(A, 1.33, "READY")], again) != []


def test_a_release_counts_as_no_attempt() -> None:
    calls = [submit(A, 0.0), claim(1.0, (A, 1)), release(A, 1, 1.2)]
    assert judged(calls, task("READY", 1, 0)) == []
    assert judged(calls, task("READY", 1, 1)) != []


def test_a_wanted_cancel_ends_the_task_with_its_lease() -> None:
    wanted = call("cancel", 1.1, {"state": "LEASED", "requested": True}, id=A, force=False)
    calls = [submit(A, 0.0), claim(1.0, (A, 1)), wanted]
    assert judged(calls, task("CANCELLED", 1, 1)) == []
    assert judged([*calls, complete(A, 1, 1.2)], task("COMPLETED", 1, 1, f"{A} by 1")) == []
    assert judged(calls, task("READY", 1, 1)) != []
    assert judged([*calls, fail(A, 1, 1.2)], task("READY", 1, 1)) != []


def test_a_repeated_outcome_is_answered_alike() -> None:
    done = task("COMPLETED", 1, 1, f"{A} by 1")
    calls = [submit(A, 0.0), claim(1.0, (A, 1)), complete(A, 1, 1.2)]
    assert judged([*calls, complete(A, 1, 1.4)], done) == []
    assert judged([*calls, refused(complete(A, 1, 1.4), "STALE_TOKEN")], done) != []


def test_a_lease_that_nobody_was_told_of_explains_what_is_seen() -> None:
    """Token 1 went to a claim without an answer; 2 proves that it was given out."""
    lost = unknown(claim(0.5))
    calls = [submit(A, 0.0), submit(B, 0.1), lost, claim(1.0, (B, 2)), complete(B, 2, 1.1)]
    held = status(A, 1.2, "LEASED", token=1, attempt=1)
    done = task("COMPLETED", 2, 1, f"{B} by 2")
    history = History([*calls, held], [], final({A: task("READY", 1, 1), B: done}))
    assert violations(history) == []
    # Token 3 was never given out.
    held.reply["token"] = 3
    assert violations(history) != []


def test_a_failure_that_is_repeated_after_a_fault_may_have_been_carried_out() -> None:
    late = refused(fail(A, 1, 1.2), "STALE_TOKEN")
    late.end = 1.9
    calls = [submit(A, 0.0), claim(1.0, (A, 1)), late, claim(1.7, (A, 2)), complete(A, 2, 1.8)]
    done = task("COMPLETED", 2, 2, f"{A} by 2")
    assert judged(calls, done, Kill(1.3, "leader-crash", {}, served=True)) == []
    assert judged(calls, done) != []


def test_a_search_that_is_cut_short_decides_nothing_and_is_told() -> None:
    lost = [unknown(call("cancel", 0.1, id=A, force=False)) for _ in range(4)]
    calls = [submit(A, 0.0), *lost, claim(0.5, (A, 1)), status(A, 0.6, "DEAD")]
    evidence = Evidence(History(calls, [], final({A: task("READY", 1, 1)})))
    found = linearizability(evidence, steps_max=3)
    assert (found.undecided, found.broken) == ([A], [])
    assert linearizability(evidence).broken != []


def test_an_undecided_task_is_not_green(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizability, "__defaults__", (1,))
    history = History([submit(A, 0.0), status(A, 1.0, "READY")], [], final({A: task("READY")}))
    (line,) = violations(history)
    assert line == f"linearizable: 1 of 1 tasks are undecided, the first is {A}"
