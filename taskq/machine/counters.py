"""Counts over the whole cluster: tasks by state, cumulative totals, run times, sizes.

Part of the replicated state, so that they survive restarts and failover; written once per entry.
`submitted` = sum of `states` + `removed`, always (`check`).
"""

from __future__ import annotations

from bisect import bisect_left

from taskq.limits import DURATION_BUCKETS_MS
from taskq.machine import keys
from taskq.machine.record import pack, unpack
from taskq.machine.view import View

# Cumulative counts, in the order of the record; append only.
TOTALS = (
    *("submitted", "completed", "failed", "retried", "dead", "cancelled", "expired", "released"),
    *("lease_expiries", "worker_deaths", "timeouts", "redriven", "removed", "claimed"),
)


class Counters:
    """See the module. Every total is an attribute of its name."""

    __slots__ = (
        *("states", "durations", "duration_sum_ms", "waiting_size", "finished_size"),
        *("dead_size", *TOTALS),
    )

    states: list[int]
    durations: list[int]
    duration_sum_ms: int
    waiting_size: int
    finished_size: int
    dead_size: int
    submitted: int
    completed: int
    failed: int
    retried: int
    dead: int
    cancelled: int
    expired: int
    released: int
    lease_expiries: int
    worker_deaths: int
    timeouts: int
    redriven: int
    removed: int
    claimed: int

    def __init__(self, record: bytes | None) -> None:
        if record is None:
            self.states = [0] * 9
            self.durations = [0] * (len(DURATION_BUCKETS_MS) + 1)
            self.duration_sum_ms = self.waiting_size = self.finished_size = self.dead_size = 0
            totals: list[int] = []
        else:
            fields = unpack(record)
            self.states, self.durations, self.duration_sum_ms = fields[:3]
            self.waiting_size, self.finished_size, self.dead_size, totals = fields[3:]
        for position, name in enumerate(TOTALS):
            setattr(self, name, totals[position] if position < len(totals) else 0)

    def save(self, view: View) -> None:
        """Writes the record."""
        totals = [getattr(self, name) for name in TOTALS]
        sizes = (self.waiting_size, self.finished_size, self.dead_size)
        record = pack(self.states, self.durations, self.duration_sum_ms, *sizes, totals)
        view.put(keys.COUNTERS, record)

    def observe(self, duration_ms: int) -> None:
        """Counts the run time of a completed task."""
        self.durations[bisect_left(DURATION_BUCKETS_MS, duration_ms)] += 1
        self.duration_sum_ms += duration_ms

    def totals(self) -> dict[str, int]:
        """Name -> cumulative count."""
        return {name: getattr(self, name) for name in TOTALS}

    def check(self) -> None:
        """The account of P2. A failure is a bug."""
        assert self.submitted == sum(self.states) + self.removed
        assert min(self.states) >= 0, self.states
        assert min(self.waiting_size, self.finished_size, self.dead_size) >= 0
