"""What a leader knows of one peer's log, and what it has sent to it (A3). Pure.

PROBE --the peer agrees--> REPLICATE        one append at a time, to find where the logs agree;
  ^                            |            then as many as fit, each entry once
  +--rejected, link lost-------+
  +--> SNAPSHOT                             the log does not reach back far enough (A11)
"""

from __future__ import annotations

import enum
from collections import deque

from taskq.limits import MIB

# Sent and not acknowledged, at most (one append is always allowed).
IN_FLIGHT_SIZE_MAX = 16 * MIB


class Stage(enum.Enum):
    """See the module."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """`next_index`: the next entry to send; `match`: held on the peer's disk. `loss`: its
    non-voting flag, `named`: the entry after which it may clear that one (A8). `round`: the last
    heartbeat it answered; `heard_at`: when it said anything, on the loop's clock; `sent_count`:
    entries ever handed to its connection."""

    __slots__ = (
        *("_asked", "_since", "applied", "connected", "heard_at", "in_flight", "in_flight_size"),
        *("loss", "match", "named", "next_index", "probe_prev", "round", "sent_count", "stage"),
        *("told_commit", "wall_ms"),
    )

    def __init__(self, next_index: int, now: float, *, connected: bool) -> None:
        self.stage = Stage.PROBE
        self.next_index = next_index
        self.match = 0
        # In PROBE: what the append on its way follows, and nothing more until it is answered.
        self.probe_prev: int | None = None
        self.in_flight: deque[tuple[int, int]] = deque()  # (last index, bytes)
        self.in_flight_size = 0
        self.sent_count = 0
        self.connected = connected
        self.round = 0
        # The last heartbeat that was sent, and the first that speaks of what was sent since the
        # last probe began.
        self._asked = self._since = 0
        self.heard_at = now
        self.loss = 0
        self.named = 0
        self.applied = 0
        self.told_commit = 0
        self.wall_ms: int | None = None

    def may_send(self, last_index: int) -> bool:
        """Whether an append may go out now, to a log that ends at `last_index`."""
        if not self.connected or self.stage is Stage.SNAPSHOT:
            return False
        if self.stage is Stage.PROBE:  # an empty one, too: to see that the logs agree
            return self.probe_prev is None
        return self.next_index <= last_index and self.in_flight_size < IN_FLIGHT_SIZE_MAX

    @property
    def sent_index(self) -> int:
        """The last index of what was sent since the logs were last compared, 0 where nothing was:
        a peer that has verified less has missed some of it."""
        waits = self.stage is Stage.PROBE and self.probe_prev is None
        return 0 if waits or self.stage is Stage.SNAPSHOT else self.next_index - 1

    def sent(self, last_index: int, size: int) -> None:
        """Entries up to `last_index` are on their way."""
        if self.stage is Stage.PROBE:
            self.probe_prev = self.next_index - 1
        self.sent_count += last_index + 1 - self.next_index
        self.next_index = last_index + 1
        self.in_flight.append((last_index, size))
        self.in_flight_size += size

    def acknowledged(self, match: int) -> bool:
        """The peer's disk agrees with the leader's log up to `match`; whether that is news."""
        if self.stage is Stage.PROBE and self.probe_prev is not None and match >= self.probe_prev:
            self.stage = Stage.REPLICATE
            self.probe_prev = None
        while self.in_flight and self.in_flight[0][0] <= match:
            self.in_flight_size -= self.in_flight.popleft()[1]
        if match <= self.match:
            return False
        self.match = match
        # A3: never back on success.
        self.next_index = max(self.next_index, match + 1)
        return True

    def rejected(self, prev_index: int, hint: int) -> None:
        """The append after `prev_index` did not fit. What is acknowledged is never sent again, and
        a late answer to an append that was given up is ignored (A3)."""
        if prev_index <= self.match or self.stage is Stage.SNAPSHOT:
            return
        if self.stage is Stage.PROBE and prev_index != self.probe_prev:
            return
        self.probe(min(hint, prev_index - 1) + 1)

    def asked(self, number: int) -> None:
        """A heartbeat goes out."""
        self._asked = number

    def missed(self, sent: int, verified: int, last: int, *, answers: int) -> None:
        """The answer to heartbeat number `answers`, which followed the append up to `sent`: the
        peer agrees up to `verified` only, and its log ends at `last`. So the append or its answer
        was lost, unless it was sent again since."""
        if max(verified, self.match) >= sent or self.stage is Stage.SNAPSHOT:
            return
        if answers < self._since or sent >= self.next_index:
            return
        start = self.next_index - 1 if self.probe_prev is None else self.probe_prev
        self.probe((verified or min(start, last)) + 1)

    def lost(self) -> None:
        """What is on its way may be lost."""
        if self.stage is Stage.SNAPSHOT:
            return
        start = self.next_index if self.probe_prev is None else self.probe_prev + 1
        self.probe(self.match + 1 if self.match else start)

    def probe(self, next_index: int) -> None:
        """Begins anew to look for where the logs agree. Entry 1 is the same in all."""
        self.stage = Stage.PROBE
        self.next_index = max(next_index, self.match + 1, 2)
        self.probe_prev = None
        self._since = self._asked + 1
        self.in_flight.clear()
        self.in_flight_size = 0

    def forget(self, next_index: int) -> None:
        """The peer lost its log (A8): nothing that it acknowledged counts any more."""
        self.match = 0
        self.probe(next_index)
