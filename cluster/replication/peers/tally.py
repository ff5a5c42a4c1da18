"""What went wrong between nodes: counted always, logged now and then; absences by themselves.

A stranger or a wrong configuration can fail a hundred times a second; the log must stay readable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import structlog

from cluster.replication.peers.absences import Absences, Way

log = structlog.get_logger(__name__)

# Kinds that are a peer's coming and going, and the connection that it is about.
_ABSENCES = {"unreachable": Way.TO, "lost": Way.TO, "left": Way.FROM}
# What the others are called in the log; a verdict (`handshake.Verdict`) is "refused".
_TEXTS = {
    "secret": "a connection was closed: the other end did not prove that it has the secret",
    "protocol": "a connection was closed: what came is not what nodes say",
    "slow": "a connection was closed: who came did not prove who it is in time",
    "crowded": "a connection was closed: too many have not proved who they are",
    "attach": "a connection that came was lost at once, or TLS failed on it",
    "accept": "the port cannot take a connection",
    "full": "a message to a member was dropped",
    "bug": "a dial failed, by a bug",
}
_REFUSED = "a connection between nodes was refused"

# One line for each kind and peer in so many seconds.
LOG_SECS = 10.0
# Peers are named by ids that anybody with the secret may choose: what is remembered is bounded.
REMEMBERED_MAX = 1_000


class Tally:
    """Counts by kind; `clock()` gives seconds. `absences` is told of who is gone."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self.absences = Absences(clock)
        self._clock = clock
        self._logged: dict[tuple[str, str], float] = {}
        self._unlogged: Counter[tuple[str, str]] = Counter()

    def note(self, kind: str, peer: str, text: str) -> None:
        """Something of this kind happened with `peer` (a node id, or "stranger")."""
        self.counts[kind] += 1
        way = _ABSENCES.get(kind)
        if way is not None:
            self.absences.lost(peer, way, text)
            return
        key = (kind, peer)
        now = self._clock()
        if now - self._logged.get(key, now - LOG_SECS) < LOG_SECS:
            self._unlogged[key] += 1
            return
        if len(self._logged) >= REMEMBERED_MAX:
            self._logged.clear()
            self._unlogged.clear()
        self._logged[key] = now
        more = self._unlogged.pop(key, 0)
        said = _TEXTS.get(kind, _REFUSED)
        log.warning(said, kind=kind, peer=peer, reason=text, more=more)
