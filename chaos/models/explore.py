"""Breadth-first search through every state of a small model, within a bound.

Owns the search, what is checked in every state, and the trace of a breach. Knows no rule: each
file beside it describes one as a `Model`. Called by `chaos.models.verdict`.

A model is data and steps: hashable states, the steps that lead from one to the next, and what may
never be so. The search visits each state once, nearest first, so the trace of a breach is a
shortest one. Three things are judged:

- safety: no step is `Broken`, and `broken` has nothing to say of any state;
- liveness (`Lively` models): from every state some settled state can be reached by steps that are
  not faults. This needs the whole space, so it is judged only when the space was exhausted;
- that the space is worth searching: the deeds that were seen, which the caller compares with the
  model's `milestones`. A rule that passes because nothing ever happens has not been tried.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

S = TypeVar("S", bound=Hashable)

# How often a long search says where it is, and looks at the clock, in states.
PROGRESS_STATES = 20_000


class Broken(NamedTuple):
    """In the place of a state: the step itself does what may never be done."""

    sentence: str


class Step(NamedTuple, Generic[S]):
    """What happens (`deed`, one of few words), to whom (`detail`), and what is so afterwards."""

    deed: str
    detail: str
    state: S | Broken
    # Faults may happen, but nothing may depend on one for going on.
    fault: bool = False


class Model(Protocol[S]):
    """A rule, or an unsafe wording of it, with everything that may happen around it."""

    @property
    def milestones(self) -> frozenset[str]:
        """The deeds that a search must have seen for its result to mean anything."""

    def initial(self) -> Iterable[S]:
        """The states in which a run may begin."""

    def steps(self, state: S) -> Iterable[Step[S]]:
        """Everything that may happen next."""

    def broken(self, state: S) -> str | None:
        """A sentence on what is wrong in this state, or None."""


@runtime_checkable
class Lively(Protocol):
    """A model that must also always be able to get somewhere."""

    def settled(self, state: object) -> bool:
        """Whether this is where every run should be able to arrive (or its budget is used up)."""


@dataclass(frozen=True)
class Outcome:
    """What a search found. `sentence` is None if nothing was wrong within the bound."""

    sentence: str | None
    trace: tuple[str, ...]
    states: int
    depth: int
    exhausted: bool
    deeds: frozenset[str]


class Progress(NamedTuple):
    """Where a long search is: states found, states not yet expanded, steps from the start."""

    states: int
    frontier: int
    depth: int


def explore(
    model: Model[S],
    *,
    states_max: int,
    seconds_max: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Search `model` until a breach, its last state, `states_max` states or `seconds_max`."""
    # States hold no cycles, and walking through all of them again and again takes a tenth of the
    # time: the collector rests meanwhile.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _Search(model).run(states_max, seconds_max, clock, progress)
    finally:
        if collecting:
            gc.enable()


class _Search(Generic[S]):
    def __init__(self, model: Model[S]) -> None:
        self.model = model
        self.deeds: set[str] = set()
        self.parents: dict[S, S | None] = dict.fromkeys(model.initial())
        # Only for liveness: whence each state can be reached without a fault.
        self.sources: dict[S, list[S]] | None = {} if isinstance(model, Lively) else None
        self.depth = 0

    def run(
        self,
        states_max: int,
        seconds_max: float | None,
        clock: Callable[[], float],
        progress: Callable[[Progress], None],
    ) -> Outcome:
        level = list(self.parents)
        for state in level:
            if sentence := self.model.broken(state):
                return self._outcome(sentence, state)
        started, reported = clock(), 0
        while level:
            later: list[S] = []
            for state in level:
                if found := self._expand(state, later):
                    return found
                if len(self.parents) >= states_max:
                    return self._outcome(None, None)
                if len(self.parents) - reported >= PROGRESS_STATES:
                    reported = len(self.parents)
                    progress(Progress(reported, len(later), self.depth))
                    if seconds_max is not None and clock() - started > seconds_max:
                        return self._outcome(None, None)
            level = later
            self.depth += bool(level)
        return self._stuck() or self._outcome(None, None, exhausted=True)

    def _expand(self, state: S, later: list[S]) -> Outcome | None:
        parents, sources, broken = self.parents, self.sources, self.model.broken
        for deed, detail, after, fault in self.model.steps(state):
            self.deeds.add(deed)
            if isinstance(after, Broken):
                return self._outcome(after.sentence, state, f"{deed} {detail}".rstrip())
            if after not in parents:
                parents[after] = state
                later.append(after)
                if sentence := broken(after):
                    return self._outcome(sentence, after)
            if sources is not None and not fault:
                sources.setdefault(after, []).append(state)
        return None

    def _stuck(self) -> Outcome | None:
        model, sources = self.model, self.sources
        if sources is None or not isinstance(model, Lively):
            return None
        good = {state for state in self.parents if model.settled(state)}
        open_ends = list(good)
        while open_ends:
            for source in sources.get(open_ends.pop(), ()):
                if source not in good:
                    good.add(source)
                    open_ends.append(source)
        # States were found nearest first: the first bad one has a shortest trace.
        for state in self.parents:
            if state not in good:
                sentence = "stands still: from here nothing but a further fault leads on"
                return self._outcome(sentence, state, exhausted=True)
        return None

    def _outcome(
        self, sentence: str | None, last: S | None, *more: str, exhausted: bool = False
    ) -> Outcome:
        trace = (*self._path(last), *more) if last is not None else ()
        deeds = frozenset(self.deeds)
        return Outcome(sentence, trace, len(self.parents), self.depth, exhausted, deeds)

    def _path(self, last: S) -> list[str]:
        """The steps to `last`. Only parents are kept: what was done is found again here."""
        path: list[str] = []
        state = last
        while (parent := self.parents[state]) is not None:
            steps = self.model.steps(parent)
            step = next(each for each in steps if each.state == state)
            path.append(f"{step.deed} {step.detail}".rstrip())
            state = parent
        return path[::-1]
