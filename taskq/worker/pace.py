"""How long runs take lately, and so how many tasks to hold beyond those that run.

A worker of short tasks must have the next ones at hand, or it waits for the cluster most of the
time; one of long tasks must not, for others may be free. Guesses are wary: one long run counts at
once, short ones bring the guess down by a fifth each. Without any clock; seconds from the caller.
"""

from __future__ import annotations

# Tasks held beyond those that run would be started within about this long.
HORIZON_SECS = 0.05
# Beyond this many, a larger number does not make a worker faster (measured with no-op tasks).
AHEAD_MAX = 512
# A run never costs less than this, all told.
FLOOR_SECS = 20e-6
# Names beyond this many are forgotten: a function for all names may meet any number of them.
NAMES_MAX = 1_000


class Pace:
    """Guesses for `concurrency` slots. `prefetch`: a fixed number in place of a guess."""

    def __init__(self, concurrency: int, prefetch: int | None) -> None:
        self._concurrency = concurrency
        self._prefetch = prefetch
        self._by_name: dict[str, float] = {}
        self._typical = float("inf")

    def ended(self, name: str, secs: float) -> None:
        """A run of a task of this name took so long."""
        secs = max(secs, FLOOR_SECS)
        known = self._by_name.get(name)
        if known is None and len(self._by_name) >= NAMES_MAX:
            self._by_name.clear()
        self._by_name[name] = _wary(known, secs)
        self._typical = _wary(None if self._typical == float("inf") else self._typical, secs)

    def expect(self, name: str) -> float:
        """How long a run of this name will take; infinity where nobody knows."""
        return self._by_name.get(name, float("inf"))

    def claimable(self, held: int, silent_secs: float) -> int:
        """How many tasks may be claimed by who holds `held` that have not ended.

        `silent_secs`: how long nothing has started or ended. Where all slots have been busy for
        longer than the horizon, runs turned out long, and nothing is claimed ahead.
        """
        stalled = held >= self._concurrency and silent_secs > HORIZON_SECS
        if self._prefetch is not None:
            ahead = self._prefetch
        elif stalled:
            ahead = 0
        else:
            ahead = min(AHEAD_MAX, int(self._concurrency * HORIZON_SECS / self._typical))
        return max(0, self._concurrency + ahead - held)

    @property
    def patient(self) -> bool:
        """Whether tasks stay in the line as long as it takes, because somebody wanted so many."""
        return self._prefetch is not None


def _wary(known: float | None, secs: float) -> float:
    if known is None or secs >= known:
        return secs
    return known + 0.2 * (secs - known)
