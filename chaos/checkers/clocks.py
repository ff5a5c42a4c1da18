"""How far cluster time may run from the clock of the history.

Cluster time advances by the monotonic clock of whoever leads. On a machine whose clocks are right
that is the clock of the history, at most slower by the times without a leader. Where an experiment
lets the clocks of nodes run at other rates, or jump, the history says when, or its judge is told;
every bound that such a time touches is widened.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

# Stamps are whole milliseconds.
ROUNDING_SECS = 0.003


class Skew(NamedTuple):
    """Wrong clocks, from `since` to `until` of the history: seconds of cluster time in one second
    are at least `slowest` (while there is service) and at most `fastest`; `jump_secs`: what jumps
    may add to it, or take away, in all that time."""

    since: float = -inf
    until: float = inf
    slowest: float = 1.0
    fastest: float = 1.0
    jump_secs: float = 0.0


class Clocks:
    """All that is wrong with the clocks of a history."""

    def __init__(self, skews: Iterable[Skew] = ()) -> None:
        self._skews = [skew for skew in skews if skew[2:] != (1.0, 1.0, 0.0)]
        moments = {moment for skew in self._skews for moment in (skew.since, skew.until)}
        self._changes = sorted(moments - {-inf, inf})

    def at_least(self, secs: float, since: float) -> float:
        """The shortest time of the history in which `secs` of cluster time can pass after `since`.
        What begins later never ends earlier: the search relies on that."""
        left, moment = secs - self._jumps(since), since
        for change in self._changes[bisect_right(self._changes, since) :]:
            rate = self._fastest(moment)
            if left <= (change - moment) * rate:
                break
            left -= (change - moment) * rate
            left -= sum(skew.jump_secs for skew in self._skews if skew.since == change)
            moment = change
        left = max(left, 0.0)
        return max(moment - since + left / self._fastest(moment) - ROUNDING_SECS, 0.0)

    def _jumps(self, moment: float) -> float:
        return sum(skew.jump_secs for skew in self._between(moment, moment))

    def _fastest(self, moment: float) -> float:
        """From this moment until the next change."""
        skews = (one for one in self._skews if one.since <= moment < one.until)
        return max((skew.fastest for skew in skews), default=1.0)

    def at_most(self, secs: float, since: float, until: float) -> float:
        """The longest time of the history, all of it with service, that `secs` of cluster time can
        take, as far as it lies between these moments."""
        skews = self._between(since, until)
        slowest = min((skew.slowest for skew in skews), default=1.0)
        jumps = sum(skew.jump_secs for skew in skews)
        return secs / slowest + jumps + ROUNDING_SECS

    def _between(self, since: float, until: float) -> list[Skew]:
        return [one for one in self._skews if one.since <= until and one.until >= since]
