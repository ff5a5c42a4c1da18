"""Is there an order of one task's calls that explains all its answers?

The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the memory of
Lowe ("Testing for linearizability", 2017), as in Porcupine: the next call is one that began before
all others that are not yet in the order had ended. Times matter here, as leases and delays do not
end before theirs. Each step is put at its earliest moment: all other bounds are ends of calls, so
nothing is gained by a later one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import NamedTuple

from chaos.checkers.task_model import Act, State, TaskModel

STEPS_MAX = 20_000


class Event(NamedTuple):
    """An act and when it takes place. Not `sure`: it may as well never take place."""

    start: float
    end: float
    act: Act
    sure: bool = True


class Verdict(NamedTuple):
    """`explained`: None where the search was cut short. `stuck`: of the longest order found, the
    calls that nothing explains, and the state before them."""

    explained: bool | None
    steps: int
    stuck: tuple[State, list[Event]] | None = None


class _Node(NamedTuple):
    done: int  # a bit for each event that is in the order
    state: State
    now: float


def search(model: TaskModel, events: Sequence[Event], steps_max: int = STEPS_MAX) -> Verdict:
    """Looks for an order of the events in which each takes place between its start and its end.
    At most `steps_max` steps, then nothing is decided."""
    events = sorted(events, key=lambda event: event.start)
    all_sure = sum(1 << place for place, event in enumerate(events) if event.sure)
    stack = [_Node(0, State(), -inf)]
    seen: dict[tuple[int, State], list[tuple[float, float]]] = {}
    steps, best, deepest = 0, -1, stack[0]
    while stack:
        node = stack.pop()
        if node.done & all_sure == all_sure:
            return Verdict(True, steps)
        if _known(seen, node):
            continue
        if (depth := (node.done & all_sure).bit_count()) > best:
            best, deepest = depth, node
        steps += 1
        if steps > steps_max:
            return Verdict(None, steps)
        stack += _following(model, events, node)
    missing = [events[place] for place in _candidates(events, deepest.done)[0]]
    return Verdict(False, steps, (deepest.state, [event for event in missing if event.sure]))


def _known(seen: dict[tuple[int, State], list[tuple[float, float]]], node: _Node) -> bool:
    """Whether the same was reached before, not later and with a timer that ends not later."""
    key = node.done, node.state._replace(timer=0.0)
    times = seen.setdefault(key, [])
    now, timer = node.now, node.state.timer
    if any(one <= now and other <= timer for one, other in times):
        return True
    times.append((now, timer))
    return False


def _candidates(events: Sequence[Event], done: int) -> tuple[list[int], float]:
    """The places of the events that may be next, and when the first sure one of them ends."""
    found, limit = [], inf
    place = ((done + 1) & ~done).bit_length() - 1  # the first one that is not done
    while place < len(events) and events[place].start <= limit:
        if not done >> place & 1:
            found.append(place)
            if events[place].sure:
                limit = min(limit, events[place].end)
        place += 1
    return [place for place in found if events[place].start <= limit], limit


def _following(model: TaskModel, events: Sequence[Event], node: _Node) -> list[_Node]:
    """What may come next, the likeliest last."""
    places, limit = _candidates(events, node.done)
    # What must be, before what may be; what ends first, first.
    places.sort(key=lambda place: (not events[place].sure, events[place].end))
    found = []
    for state, moment in _alone(model, node, limit):
        for place in places:
            event = events[place]
            now = max(moment, event.start)
            if now > min(event.end, limit):
                continue
            for after in model.after(state, event.act, now):
                if event.sure or after != state:
                    found.append(_Node(node.done | 1 << place, after, now))
    return found[::-1]


def _alone(model: TaskModel, node: _Node, limit: float) -> Iterator[tuple[State, float]]:
    """The state, and all that it may become by itself until `limit`."""
    waiting = [(node.state, node.now)]
    seen = set(waiting)
    for state, now in waiting:
        yield state, now
        for after, moment in model.by_itself(state, now):
            if moment <= limit and (after, moment) not in seen:
                seen.add((after, moment))
                waiting.append((after, moment))
