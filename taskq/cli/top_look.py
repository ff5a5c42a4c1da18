"""One look at a cluster, and what two looks tell together: rates per second.

Reads in as few requests as there are lists. While nobody leads, the node at hand says what it knows
(`stale`), so that the view goes on exactly when somebody wants to see what is wrong.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from taskq.cli.cluster import ask
from taskq.cli.command import sentence
from taskq.client import Client
from taskq.client.views import QueueStatus, WorkerStatus, queue_status, worker_status
from taskq.commands import GetStats, ListQueues, ListWorkers
from taskq.errors import TaskqError
from taskq.limits import LIST_LIMIT_MAX
from taskq.results import ClusterStatus, Stats

# Rates that are shown, each the sum of these totals of `Stats`.
RATES: dict[str, tuple[str, ...]] = {
    "submitted": ("submitted",),
    "claimed": ("claimed",),
    "completed": ("completed",),
    "failed": ("failed",),
    "leases_lost": ("lease_expiries", "worker_deaths"),
}
# Looks that a small curve shows: one for each of its columns.
CURVE_COUNT = 40


@dataclass(frozen=True)
class Look:
    """What was seen at `at` (seconds of a monotonic clock). `trouble` is a sentence on what could
    not be seen; what is None or empty then was not."""

    at: float
    status: ClusterStatus | None = None
    stats: Stats | None = None
    queues: list[QueueStatus] = field(default_factory=list)
    workers: list[WorkerStatus] = field(default_factory=list)
    trouble: str = ""


def take_look(client: Client, at: float) -> Look:
    """Asks for everything. Never raises TaskqError: what went wrong is part of the look."""
    status: ClusterStatus | None = None
    try:
        status = ask(client)
        stale = not status.leader
        stats: Stats = client.call(GetStats(stale=stale))
        queues = _all(client, ListQueues(limit=LIST_LIMIT_MAX, stale=stale))
        workers = _all(client, ListWorkers(limit=LIST_LIMIT_MAX, stale=stale))
    except TaskqError as error:
        return Look(at, status, trouble=sentence(error))
    return Look(
        *(at, status, stats),
        [queue_status(view) for view in queues],
        [worker_status(view) for view in workers],
    )


def _all(client: Client, command: Any) -> list[Any]:
    records: list[Any] = []
    while True:
        page, after = client.call(command)
        records += page
        if after is None:
            return records
        command = command._replace(after=after)


class Rates:
    """Counts per second between the last two looks that saw counts, and a short past of them."""

    def __init__(self) -> None:
        self.now: dict[str, float] = {}
        self.curves: dict[str, deque[float]] = {name: deque(maxlen=CURVE_COUNT) for name in RATES}
        self._before: tuple[float, dict[str, int]] | None = None

    def add(self, look: Look) -> None:
        """Takes in the next look."""
        if look.stats is None:
            return  # the next rates are the mean over the gap
        totals = look.stats.totals
        counts = {name: sum(totals.get(one, 0) for one in parts) for name, parts in RATES.items()}
        before, self._before = self._before, (look.at, counts)
        if before is None or look.at <= before[0]:
            return
        secs = look.at - before[0]
        for name, count in counts.items():
            # Never below 0: a stale answer may be older than the one before.
            self.now[name] = max(0, count - before[1][name]) / secs
            self.curves[name].append(self.now[name])
