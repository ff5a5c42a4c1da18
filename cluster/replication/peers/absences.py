"""Says in the log which members are away: a word when one is lost, loudly when it stays away, and a
word when it is back.

Connections come and go when a cluster is founded and whenever a node is restarted. A peer is away
while a connection that was there, or was dialled, is missing in one direction or both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import structlog

log = structlog.get_logger(__name__)

# A restart takes less, and an election does not wait for it. Seconds.
STAYS_AWAY_SECS = 5.0
AGAIN_SECS = 60.0


class Way(Enum):
    """Of the two connections with a peer: the one on which this node speaks, or the peer does."""

    TO = "to"
    FROM = "from"


@dataclass
class _Absence:
    since: float
    reason: str  # the last one
    missing: set[Way] = field(default_factory=set)
    said_at: float | None = None  # when it was last said loudly


class Absences:
    """See the module. `clock()` gives seconds. Who calls bounds the peers: members, once proved."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._away: dict[str, _Absence] = {}
        self._ended = False

    def lost(self, peer: str, way: Way, reason: str) -> None:
        """A connection is gone, or could not be made."""
        if self._ended:
            return
        absence = self._away.get(peer)
        if absence is None:
            absence = self._away[peer] = _Absence(self._clock(), reason)
            log.info("a member is away", member=peer, reason=reason)
        absence.reason = reason
        absence.missing.add(way)

    def back(self, peer: str, way: Way) -> None:
        """A connection was made."""
        absence = self._away.get(peer)
        if absence is None:
            return
        absence.missing.discard(way)
        if not absence.missing:
            del self._away[peer]
            secs = round(self._clock() - absence.since, 1)
            log.info("a member is back", member=peer, after_secs=secs)

    def review(self) -> None:
        """Now and then: says who stays away."""
        now = self._clock()
        for peer, absence in self._away.items():
            secs, said_at = now - absence.since, absence.said_at
            if secs >= STAYS_AWAY_SECS and (said_at is None or now - said_at >= AGAIN_SECS):
                absence.said_at = now
                ways = sorted(way.value for way in absence.missing)
                log.warning(
                    "a member stays away",
                    member=peer,
                    for_secs=round(secs, 1),
                    no_connection=" and ".join(ways),
                    reason=absence.reason,
                )

    def forget(self, peer: str) -> None:
        """It is no peer any more."""
        self._away.pop(peer, None)

    def end(self) -> None:
        """This node stops: that it loses everybody is no news."""
        self._ended = True
        self._away.clear()
