"""What becomes of log and state of a member whose data is new, whole, lost or damaged: pure.

In a group damage is never refused: the node sets aside what it cannot trust, counts for nothing
until it has caught up (rule A8), and gets what is missing from its peers. `member_stores.py`
carries the plan out; a simulated disk uses the same table.

| log | state | log becomes | state becomes |
|---|---|---|---|
| new | missing | created; non-voting unless the node is listed | created |
| new | there | renewed: there was a log | kept, or renewed if damaged |
| lost or damaged | whole | renewed | kept |
| lost or damaged | missing or damaged | renewed | renewed |
| whole, from its beginning | missing or damaged | kept | renewed: the log replays it |
| whole, from later on | missing or damaged | renewed | renewed |
| whole | ends before the log starts | renewed | renewed |
| whole, voting | written further than the log goes | renewed: it lost its end | kept |
| whole | whole | kept | kept |

"Renewed": set aside, if it is there, and made anew; a renewed log is non-voting with a new id.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class LogFound(enum.Enum):
    """How the log was found."""

    NEW = "new"  # this folder never had one
    WHOLE = "whole"
    LOST = "lost"  # missing though it was there, or damaged


class StateFound(enum.Enum):
    """How the state was found."""

    MISSING = "missing"
    WHOLE = "whole"
    DAMAGED = "damaged"


class Step(enum.Enum):
    """What is done to one of the two."""

    KEEP = "keep"
    CREATE = "create"  # nothing was there
    RENEW = "renew"


@dataclass(frozen=True, slots=True)
class Found:
    """Both, as found. `first`, `last`: the log's entries, 0 and 0 when empty; `non_voting`: the
    log's flag; `index`: the state's; `as_received`: the state was not written since a snapshot
    brought it, so that it may be ahead of the log (rule A12 rebases it)."""

    log: LogFound
    state: StateFound
    first: int = 0
    last: int = 0
    non_voting: bool = False
    index: int = 0
    as_received: bool = False

    @property
    def lost_end(self) -> bool:
        """The state holds entries that the log must have had: its end is gone, unseen by the
        witness (which was older). Entry 1 stands in no state alone: every log begins with it."""
        ahead = self.state is StateFound.WHOLE and self.index > max(self.last, 1)
        return self.log is LogFound.WHOLE and ahead and not (self.as_received or self.non_voting)

    @property
    def gap(self) -> bool:
        """Entries are missing between the state and the log's first."""
        index = self.index if self.state is StateFound.WHOLE else 0
        return self.log is LogFound.WHOLE and index + 1 < self.first


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """What to do, the log first. `non_voting`: a log that is made gets the flag."""

    log: Step
    state: Step
    non_voting: bool = False


def plan_member(found: Found, *, listed: bool) -> MemberPlan:
    """The plan, by the table above. `listed`: the founding record names this very disk, so that an
    empty log has forgotten nothing (rule A9)."""
    whole = found.state is StateFound.WHOLE
    made = Step.CREATE if found.state is StateFound.MISSING else Step.RENEW
    if found.log is LogFound.NEW and found.state is StateFound.MISSING:
        return MemberPlan(Step.CREATE, Step.CREATE, non_voting=not listed)
    if found.gap:
        return MemberPlan(Step.RENEW, Step.RENEW if whole else made, non_voting=True)
    if found.log is not LogFound.WHOLE or found.lost_end:
        return MemberPlan(Step.RENEW, Step.KEEP if whole else made, non_voting=True)
    return MemberPlan(Step.KEEP, Step.KEEP if whole else made)
