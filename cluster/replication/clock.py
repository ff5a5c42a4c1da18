"""The two times that the leader stamps on entries (design section 5). Pure: clocks are handed in.

Cluster time (`elapsed_ms`) advances by the leader's monotonic clock, at most 500 ms per driver
round, so that a suspended machine counts against nobody. Wall time advances with it, is slewed by
at most 10 % towards the members' clocks and never goes past what a majority of them show; a new
leader, or one whose round was capped, moves it forward at once. Neither ever goes back.
"""

from __future__ import annotations

from collections.abc import Callable

ROUND_MAX_MS = 500
# One part in ten: the slew of the wall time.
SLEW = 10


class ClusterClock:
    """The times of the next entry. `monotonic()` and `wall()` give seconds."""

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._last = monotonic()
        self._elapsed = 0.0
        self._wall_ms = 0.0
        # A time that the clocks of a majority of all members have reached, ms, given this one's;
        # set by whoever leads.
        self.reached: Callable[[float], float] = _own

    @property
    def elapsed_ms(self) -> int:
        """Cluster time as of the last `advance`."""
        return int(self._elapsed)

    @property
    def wall_ms(self) -> int:
        """The log's wall time as of the last `advance`."""
        return int(self._wall_ms)

    def own_wall_ms(self) -> int:
        """This machine's own clock."""
        return max(int(self._wall() * 1000), 0)

    def lead(self, elapsed_ms: int, wall_ms: int) -> None:
        """A node was elected: what it counted before is discarded. It knows these stamps, and when
        all of its log is applied, `goes_on` tells the last."""
        self._last = self._monotonic()
        self._elapsed = float(elapsed_ms)
        self._wall_ms = float(wall_ms)

    def goes_on(self, elapsed_ms: int, wall_ms: int) -> None:
        """The new leader has applied its whole log, whose last stamps these are. Its wall time may
        move forward at once."""
        self._elapsed = max(self._elapsed, float(elapsed_ms))
        self._wall_ms = max(self._wall_ms, float(wall_ms), self._reached_ms())

    def advance(self) -> None:
        """Once per driver round."""
        now = self._monotonic()
        passed = max(now - self._last, 0.0) * 1000
        self._last = now
        counted = min(passed, ROUND_MAX_MS)
        self._elapsed += counted
        reached = self._reached_ms()
        if passed > ROUND_MAX_MS:
            target = reached
        else:
            target = self._wall_ms + counted
            target += max(min(reached - target, counted / SLEW), -counted / SLEW)
        self._wall_ms = max(self._wall_ms, min(target, reached))

    def _reached_ms(self) -> float:
        """See `reached`; minus infinity where too few are known."""
        return self.reached(self._wall() * 1000)


def _own(wall_ms: float) -> float:
    return wall_ms
