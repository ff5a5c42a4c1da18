"""Whether a node is wedged: what it owes stands still for too long (A14). Pure.

    driver     turns at least four times a second, always
    log, state a write that was begun ends
    entries    what is committed is applied, and while a majority can take it, what is proposed is
               committed

A node that has no quorum, opens its folder again, or waits for a state owes nothing, and nothing
restarts it for that.
"""

from __future__ import annotations

from cluster.vitals import Vitals

# Between two looks no more time counts, however late the second comes: a machine that was suspended
# did not stand still. Seconds.
LOOK_SECS_MAX = 1.0

DRIVER = "the driver does not turn"
LOG = "a write of the log does not end"
STATE = "a write of the state does not end"
ENTRIES = "the applied index does not move, though there is a majority"


class Stillness:
    """See the module. `limit_secs`: what stands still for longer is wedged."""

    def __init__(self, limit_secs: float) -> None:
        self._limit_secs = limit_secs
        self._looked_at: float | None = None
        self._seen: dict[str, tuple[int, ...]] = {}
        self._still_secs: dict[str, float] = {}

    def look(self, vitals: Vitals, now: float) -> None:
        """Takes in how things are, at a moment in seconds; twice a second or more often."""
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        passed = min(max(passed, 0.0), LOOK_SECS_MAX)
        self._looked_at = now
        owed = {} if vitals.obstacle else _owed(vitals)
        for what, moved in owed.items():
            still = self._still_secs.get(what, 0.0) + passed
            self._still_secs[what] = still if self._seen.get(what) == moved else 0.0
        self._still_secs = {what: secs for what, secs in self._still_secs.items() if what in owed}
        self._seen = owed

    def wedged(self) -> str:
        """What stands still for too long, and for how long; or empty."""
        for what, secs in self._still_secs.items():
            if secs >= self._limit_secs:
                return f"{what}, for {secs:.0f} s by now"
        return ""


def _owed(vitals: Vitals) -> dict[str, tuple[int, ...]]:
    """What has to move -> how it stands."""
    owed: dict[str, tuple[int, ...]] = {DRIVER: (vitals.rounds,)}
    for what, (writing, ended) in zip((LOG, STATE), vitals.writes, strict=True):
        if writing:
            owed[what] = (ended,)
    if vitals.owed:
        owed[ENTRIES] = vitals.moved
    return owed
