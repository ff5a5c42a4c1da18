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

    @property
    def elapsed_ms(self) -> int:
        """Cluster time as of the last `advance`."""
        return int(self._elapsed)

    @property
    def wall_ms(self) -> int:
        """The log's wall time as of the last `advance`."""
        return int(self._wall_ms)

    def lead(self, elapsed_ms: int, wall_ms: int) -> None:
        """A new leader goes on from the stamps of its log's last entry; what it counted before is
        discarded. Its wall time may move forward at once."""
        self._last = self._monotonic()
        self._elapsed = float(elapsed_ms)
        self._wall_ms = max(float(wall_ms), self._reached_ms())

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
        """A time that the clocks of a majority of all members have reached: in a group of one, the
        own clock."""
        return self._wall() * 1000
