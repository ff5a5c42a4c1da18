"""The search: shortest traces, every kind of breach, bounds, and what it must not miss."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.models.explore import Broken, Lively, Progress, Step, explore


class Counter:
    """Counts up by one or two, to `end`; `bad` may never be reached."""

    milestones = frozenset({"one"})

    def __init__(self, end: int, bad: int | None = None) -> None:
        self.end, self.bad = end, bad

    def initial(self) -> Iterator[int]:
        yield 0

    def steps(self, state: int) -> Iterator[Step[int]]:
        for deed, size in (("one", 1), ("two", 2)):
            if state + size <= self.end:
                yield Step(deed, f"from {state}", state + size)

    def broken(self, state: int) -> str | None:
        return "bad" if state == self.bad else None


class Jumper(Counter):
    """May do the forbidden itself, in a step."""

    def steps(self, state: int) -> Iterator[Step[int]]:
        yield from super().steps(state)
        if state == 3:
            yield Step("jump", "into the void", Broken("nobody jumps"))


class Pit(Counter):
    """A fall from 1 leads to a pit, out of which only a further fault leads."""

    def __init__(self, fault_only: bool) -> None:
        super().__init__(4)
        self.fault_only = fault_only

    def settled(self, state: object) -> bool:
        return state == 4

    def steps(self, state: int) -> Iterator[Step[int]]:
        if state == -1:
            yield Step("climb", "", 2, fault=self.fault_only)
            return
        yield from super().steps(state)
        if state == 1:
            yield Step("fall", "", -1, fault=True)


def test_all_states_are_visited_once() -> None:
    outcome = explore(Counter(100), states_max=1_000)
    assert outcome.states == 101
    assert outcome.exhausted
    assert outcome.sentence is None
    assert outcome.deeds == {"one", "two"}
    assert outcome.depth == 50


def test_trace_is_a_shortest_one() -> None:
    outcome = explore(Counter(100, bad=5), states_max=1_000)
    assert outcome.sentence == "bad"
    assert len(outcome.trace) == 3
    assert not outcome.exhausted


def test_broken_beginning_needs_no_step() -> None:
    outcome = explore(Counter(100, bad=0), states_max=1_000)
    assert (outcome.sentence, outcome.trace) == ("bad", ())


def test_forbidden_step_ends_the_trace() -> None:
    outcome = explore(Jumper(10), states_max=1_000)
    assert outcome.sentence == "nobody jumps"
    assert outcome.trace == ("one from 0", "two from 1", "jump into the void")


def test_bound_on_states_is_kept_and_told() -> None:
    outcome = explore(Counter(10_000, bad=9_999), states_max=100)
    assert outcome.sentence is None
    assert not outcome.exhausted
    assert 100 <= outcome.states <= 102


def test_bound_on_time_is_kept_and_told() -> None:
    now = iter(range(1_000))
    seen: list[Progress] = []
    outcome = explore(
        Counter(10**9),
        states_max=10**9,
        seconds_max=2.5,
        clock=lambda: float(next(now)),
        progress=seen.append,
    )
    assert not outcome.exhausted
    assert [each.states for each in seen] == [20_000, 40_000, 60_000]


def test_a_pit_is_found_with_the_way_into_it() -> None:
    outcome = explore(Pit(fault_only=True), states_max=1_000)
    assert outcome.sentence is not None
    assert outcome.sentence.startswith("stands still")
    assert outcome.trace == ("one from 0", "fall")


def test_a_way_out_is_no_pit() -> None:
    assert explore(Pit(fault_only=False), states_max=1_000).sentence is None


def test_liveness_is_asked_for_by_having_settled() -> None:
    assert isinstance(Pit(fault_only=True), Lively)
    assert not isinstance(Counter(1), Lively)
