"""What went wrong between nodes: counted always, logged now and then.

A stranger or a wrong configuration can fail a hundred times a second; the log must stay readable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

# One line for each kind and peer in so many seconds.
LOG_SECS = 10.0
# Peers are named by ids that anybody with the secret may choose: what is remembered is bounded.
REMEMBERED_MAX = 1_000


class Tally:
    """Counts by kind; `clock()` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._logged: dict[tuple[str, str], float] = {}
        self._unlogged: Counter[tuple[str, str]] = Counter()

    def note(self, kind: str, peer: str, text: str) -> None:
        """Something of this kind happened with `peer` (a node id, or "stranger")."""
        self.counts[kind] += 1
        key = (kind, peer)
        now = self._clock()
        if now - self._logged.get(key, now - LOG_SECS) < LOG_SECS:
            self._unlogged[key] += 1
            return
        if len(self._logged) >= REMEMBERED_MAX:
            self._logged.clear()
            self._unlogged.clear()
        self._logged[key] = now
        log.warning("raft_peer", kind=kind, peer=peer, reason=text, more=self._unlogged.pop(key, 0))
