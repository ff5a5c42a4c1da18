"""Times without service, from the moments at which probes were acknowledged. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


def longest_gap(acks: Sequence[float], since: float, until: float) -> float:
    """The longest time between two acknowledgements one after the other of which some part lies in
    since .. until, in seconds. `acks` are moments in ascending order. Infinite where none came
    before `since` or none after `until`: nobody can tell how long that was."""
    first = bisect_left(acks, since) - 1
    last = bisect_left(acks, until)
    if first < 0 or last == len(acks):
        return float("inf")
    return max(acks[place + 1] - acks[place] for place in range(first, last))


def first_after(acks: Sequence[float], moment: float) -> float:
    """The first acknowledgement at `moment` or later; infinite without one."""
    place = bisect_left(acks, moment)
    return acks[place] if place < len(acks) else float("inf")
