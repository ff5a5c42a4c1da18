"""How far cluster time may run from the clock of the history.

Cluster time advances by the monotonic clock of whoever leads. On a machine whose clocks are right
that is the clock of the history, at most slower by the times without a leader. Where an experiment
lets the clocks of nodes run at other rates, or jump, it says so here, and every bound is widened.
"""

from __future__ import annotations

from typing import NamedTuple

# Stamps are whole milliseconds.
ROUNDING_SECS = 0.003


class Clocks(NamedTuple):
    """Seconds of cluster time in one second of the history: at least `slowest` (while there is
    service), at most `fastest`. `jump_secs`: what all jumps together may add or take away; a node
    counts at most 0.5 s for each round of its driver, so that is 0.5 for each jump."""

    slowest: float = 1.0
    fastest: float = 1.0
    jump_secs: float = 0.0

    def at_least(self, secs: float) -> float:
        """The shortest time of the history in which `secs` of cluster time can pass."""
        return max(secs / self.fastest - self.jump_secs - ROUNDING_SECS, 0.0)

    def at_most(self, secs: float) -> float:
        """The longest time of the history, all of it with service, that `secs` can take."""
        return secs / self.slowest + self.jump_secs + ROUNDING_SECS
