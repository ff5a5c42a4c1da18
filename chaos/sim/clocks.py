"""What a machine's clocks show: each with its own offset and rate, and both may jump."""

from __future__ import annotations

from collections.abc import Callable

# What a right wall clock shows when a run begins.
WALL_START_SECS = 1_700_000_000.0


class Clock:
    """Reads `true()`, the world's time, through an offset and a rate. Seconds."""

    def __init__(self, true: Callable[[], float], offset: float, rate: float) -> None:
        self._true = true
        self._since = true()
        self._shown = offset
        self.rate = rate

    def read(self) -> float:
        """What it shows now."""
        return self._shown + (self._true() - self._since) * self.rate

    def true_at(self, shown: float) -> float:
        """The world's time at which it will show this, if nobody touches it."""
        return self._since + (shown - self._shown) / self.rate

    def jump(self, secs: float) -> None:
        """From now on it shows so much more (or less)."""
        self._shown, self._since = self.read() + secs, self._true()

    def run_at(self, rate: float) -> None:
        """From now on it runs at this rate."""
        self._shown, self._since, self.rate = self.read(), self._true(), rate
