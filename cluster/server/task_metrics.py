"""What the replicated state says about tasks, queues and workers: from the leader only, so that a
sum over all nodes is right. It survives restarts and changes of leader."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from cluster.server.node_metrics import cumulative
from cluster.server.replica import Replica
from taskq.commands import GetStats, ListQueues
from taskq.limits import DURATION_BUCKETS_MS
from taskq.results import QueueView, Stats

# The totals that say what became of tasks; the others are metrics of their own.
OUTCOMES = (
    *("submitted", "completed", "failed", "retried", "dead", "cancelled", "expired", "released"),
)
# A lease may be over its deadline by the time between two looks, and a little.
OVER_AGE_MS = 15_000
# Queues of one page of `queue_depths`: some milliseconds.
PAGE_COUNT = 500

_BOUNDS = tuple(bound / 1000 for bound in DURATION_BUCKETS_MS)
_DEPTH = "tq_broker_queue_depth"


class TaskMetrics:
    """A collector; yields nothing on a node that does not lead."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def collect(self) -> Iterator[Metric]:
        """All families but the depths of queues (`queue_depths`)."""
        replica = self._replica
        if not replica.is_leader() or replica.unavailable() is not None:
            return
        stats: Stats = replica.machine.ask(GetStats())
        yield from _tasks(stats)
        yield from self._sizes(stats)
        about = "Run time of completed tasks."
        buckets = cumulative(_BOUNDS, stats.durations)
        seconds = stats.duration_sum_ms / 1000
        name = "tq_task_processing_duration_seconds"
        yield HistogramMetricFamily(name, about, buckets=buckets, sum_value=seconds)

    def _sizes(self, stats: Stats) -> Iterator[Metric]:
        settings = self._replica.machine.settings
        rows = (
            ("tq_workers_connected", "Workers that are known and alive.", stats.workers),
            ("tq_queues", "Queues.", stats.queues),
            ("tq_waiting_bytes", "Size of waiting tasks.", stats.waiting_size),
            ("tq_waiting_bytes_limit", "queue_bytes_threshold.", settings.queue_bytes_threshold),
            ("tq_finished_bytes", "Size of ended tasks and results.", stats.finished_size),
            ("tq_dead_letter_bytes", "Size of dead letters.", stats.dead_size),
            ("tq_dead_letter_bytes_limit", "dead_letter_max_bytes.", settings.dead_size_max),
            ("tq_overage_leases", "Leases 15 s past their end: must be 0.", self._over_age()),
            ("tq_cluster_time_seconds", "Cluster time in the log.", stats.elapsed_ms / 1000),
        )
        for name, about, value in rows:
            yield GaugeMetricFamily(name, about, value=value)

    def _over_age(self) -> int:
        machine = self._replica.machine
        until_ms = self._replica.cluster_time_ms() - OVER_AGE_MS
        if machine.next_due()[0] >= until_ms:
            return 0  # nothing at all is that late: spares looking at every lease
        return machine.overdue_leases(until_ms)

    def queue_depths(self) -> Iterator[bytes]:
        """`tq_broker_queue_depth` as text, in pieces: there may be 10,000 queues, and the library
        takes 5 µs for each line. Names need no escapes: their pattern allows nothing special."""
        replica = self._replica
        if not replica.is_leader() or replica.unavailable() is not None:
            return
        head = f"# HELP {_DEPTH} Ready tasks by queue and tier.\n# TYPE {_DEPTH} gauge\n"
        after: bytes | None = None
        while True:
            page = replica.machine.ask(ListQueues(after, PAGE_COUNT))
            yield (head + "".join(map(_depth, page.queues))).encode()
            head, after = "", page.after
            if after is None or replica.unavailable() is not None:
                return


def _tasks(stats: Stats) -> Iterator[Metric]:
    states = stats.states
    about = "Tasks by what became of them; a task that is retried counts in several."
    total = CounterMetricFamily("tq_tasks", about, labels=["outcome"])
    for outcome in OUTCOMES:
        total.add_metric([outcome], stats.totals[outcome])
    yield total
    pending = states["ready"] + states["scheduled"] + states["retrying"]
    yield GaugeMetricFamily("tq_tasks_pending", "Ready, scheduled, retrying.", value=pending)
    about = "Tasks under a lease."
    yield GaugeMetricFamily("tq_tasks_in_progress", about, value=states["leased"])
    by_state = GaugeMetricFamily("tq_tasks_by_state", "Tasks by state.", labels=["state"])
    for state, count in states.items():
        by_state.add_metric([state], count)
    yield by_state
    for name, count in stats.totals.items():
        if name not in OUTCOMES:
            about = f"Total count of {name.replace('_', ' ')}."
            yield CounterMetricFamily(f"tq_{name}", about, value=count)


def _depth(queue: QueueView) -> str:
    start = f'{_DEPTH}{{queue="{queue.name}",tier='
    return (
        f'{start}"high"}} {queue.ready_high}\n'
        f'{start}"normal"}} {queue.ready_normal}\n'
        f'{start}"low"}} {queue.ready_low}\n'
    )
