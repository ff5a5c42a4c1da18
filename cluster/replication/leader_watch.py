"""Says plainly in the log that nobody leads, and why: once it lasts, and then now and then (A8)."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from taskq.quorum import COUNTED, OUTSIDE, REMEDY, majority, missing, voters
from taskq.results import ClusterStatus, MemberView

log = structlog.get_logger(__name__)

# Elections and founding take less. Seconds.
PATIENCE_SECS = 5.0
AGAIN_SECS = 60.0


class LeaderWatch:
    """Looks every second or so. `status()`: the cluster as this node knows it."""

    def __init__(self, status: Callable[[], ClusterStatus], now: float) -> None:
        self._status = status
        self._since = now  # nobody leads, as far as known
        self._missing = ""  # who, as last said
        self._said_at: float | None = None

    def look(self, leader: str, now: float) -> None:
        """`leader` is empty where nobody is known to lead; `now` is loop time."""
        if not leader:
            if now - self._since >= PATIENCE_SECS:
                self._say(now)
            return
        if self._said_at is not None:
            secs = round(now - self._since, 1)
            log.warning("there is a leader again", leader=leader, after_secs=secs)
        self._since, self._said_at = now, None

    def _say(self, now: float) -> None:
        status = self._status()
        members = [MemberView(*one) for one in status.members]
        if any(one.node_id == status.node_id and one.role in OUTSIDE for one in members):
            return  # it is no member: it says so itself, and hears no leader for it
        gone = missing(members) or "nobody: the next election will tell"
        if self._said_at is not None and gone == self._missing and now - self._said_at < AGAIN_SECS:
            return
        self._said_at, self._missing = now, gone
        counted = sum(one.role in COUNTED for one in members)
        log.error(
            "NOBODY LEADS: requests wait",
            for_secs=round(now - self._since, 1),
            counted=f"{counted} of {len(voters(members))} members, {majority(members)} are needed",
            missing=gone,
            **({"remedy": REMEDY} if counted < majority(members) else {}),
        )
