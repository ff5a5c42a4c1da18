"""Whether requests should be sent to a node. Pure.

    not ready --whole and caught up for 3 s; a leader at once--> ready
    ready --cannot serve (stopping, removed, disk, log lost)--> not ready, at once
          --no leader known, or behind, for 5 s--> not ready

So an election makes no node unready, and a node that was started is not taken for one that serves
before it has shown that it keeps up.
"""

from __future__ import annotations

from cluster.vitals import Vitals

# A node that was behind counts as caught up when it has been for so long. Seconds.
HELD_SECS = 3.0
# An election, or a burst that a follower applies a moment later, is no reason to be left. Seconds.
GRACE_SECS = 5.0
# So far behind the leader's commit index a node under load may always be. Entries.
LAG_MAX = 1_000
# See `stillness.py`.
LOOK_SECS_MAX = 1.0

LOST_LOG = "counts for nothing until it is whole: it lost its log, or is no member yet"
NO_LEADER = "no leader is known"


class Readiness:
    """See the module."""

    def __init__(self) -> None:
        self._ready = False
        self._looked_at: float | None = None
        self._held_secs = 0.0  # of what would have to go on for the other answer
        self._lacks = ""

    def look(self, vitals: Vitals, refusal: str, now: float) -> None:
        """Takes in how things are, at a moment in seconds; twice a second or more often.
        `refusal`: why what grows is refused (the disk is full), or empty."""
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        passed = min(max(passed, 0.0), LOOK_SECS_MAX)
        self._looked_at = now
        cannot = vitals.obstacle or refusal
        cannot = cannot or (LOST_LOG if vitals.lost_log else "")
        before, self._lacks = self._lacks, cannot or _waits_for(vitals)
        if bool(before) != bool(self._lacks):
            self._held_secs = 0.0
        else:
            self._held_secs += passed
        if cannot:
            self._ready = False
        elif self._lacks:
            self._ready = self._ready and self._held_secs < GRACE_SECS
        else:
            self._ready = self._ready or vitals.leads or self._held_secs >= HELD_SECS

    def lacking(self) -> str:
        """Why it is not ready, or empty."""
        if self._ready:
            return ""
        return self._lacks or f"caught up for {self._held_secs:.1f} s; ready after {HELD_SECS:g} s"


def _waits_for(vitals: Vitals) -> str:
    """What a moment may mend."""
    if not vitals.leader:
        return NO_LEADER
    behind = vitals.target - vitals.applied
    if behind > LAG_MAX:
        return f"{behind} entries behind the leader"
    return ""
