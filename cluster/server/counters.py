"""What the sessions count on the way: plain integers, read when somebody asks for metrics."""

from __future__ import annotations

from bisect import bisect_left

# Upper bounds in seconds of the buckets of request latency.
LATENCY_BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)


class Counters:
    """Counts of one node since it started. `answered` is indexed by message code; the key of
    `refused` is (message code, error code), with message code 0 for what was no request."""

    __slots__ = (
        *("accepted", "answered", "bytes_in", "bytes_out", "dropped", "forwarded"),
        *("forwarded_lost", "latencies", "latency_sum", "pushed", "refused", "turned_away"),
        "unauthenticated",
    )

    def __init__(self) -> None:
        self.answered = [0] * 256
        self.refused: dict[tuple[int, str], int] = {}
        self.bytes_in = 0
        self.bytes_out = 0
        self.accepted = 0  # connections
        self.turned_away = 0  # connections over the limit
        self.unauthenticated: dict[str, int] = {}  # reason -> connections without a valid key
        self.dropped: dict[str, int] = {}  # reason -> connections that the node ended
        self.pushed = 0
        self.forwarded = 0  # requests passed on to the leader
        self.forwarded_lost = 0  # of those: commands whose outcome was lost with a connection
        self.latencies = [0] * (len(LATENCY_BOUNDS) + 1)
        self.latency_sum = 0.0

    def refuse(self, code: int, error: str) -> None:
        """An answer was a refusal."""
        key = (code, error)
        self.refused[key] = self.refused.get(key, 0) + 1

    def keep_out(self, reason: str) -> None:
        """Somebody had no valid key."""
        self.unauthenticated[reason] = self.unauthenticated.get(reason, 0) + 1

    def drop(self, reason: str) -> None:
        """The node ended a connection."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def observe(self, seconds: float, count: int) -> None:
        """`count` requests that arrived together were answered after `seconds`."""
        self.latencies[bisect_left(LATENCY_BOUNDS, seconds)] += count
        self.latency_sum += seconds * count
