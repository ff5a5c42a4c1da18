"""What every node says about itself, read at the time of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from cluster.server.counters import LATENCY_BOUNDS
from cluster.server.replica import Replica
from cluster.server.tcp import BrokerServer
from taskq.registry import MESSAGES

OK = "ok"
# What was no legal request has no message type.
NO_MESSAGE = "none"


class NodeMetrics:
    """A collector. `free_size()` is the free space on the disk of the data folder, in bytes."""

    def __init__(
        self, replica: Replica, server: BrokerServer, free_size: Callable[[], int]
    ) -> None:
        self._replica = replica
        self._server = server
        self._free_size = free_size

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._gauges()
        yield from self._counts()
        yield self._requests()
        yield self._latency()

    def _gauges(self) -> Iterator[Metric]:
        replica, server = self._replica, self._server
        waiting, status = server.waiting, replica.cluster_status()
        rows = (
            ("tq_is_leader", "1 on the node that leads.", int(replica.is_leader())),
            ("tq_raft_term", "Raft term.", replica.term),
            ("tq_applied_index", "Index of the last applied entry.", replica.applied_index),
            ("tq_commit_index", "Index of the last committed entry.", replica.commit_index),
            ("tq_feature_level", "The cluster's feature level.", replica.machine.level),
            (
                "tq_feature_level_possible",
                "The highest level that all members can run; 0: one was not heard from.",
                status.level_possible,
            ),
            ("tq_connections", "Open client connections.", len(server.sessions)),
            ("tq_parked_claims", "Claims that wait for a task.", waiting.claims.count),
            (
                "tq_parked_queries",
                "Queries that wait for a result.",
                waiting.queries.count,
            ),
            (
                "tq_held_requests",
                "Requests that wait for a leader.",
                server.forwarding.held_count,
            ),
            (
                "tq_forwarded_open",
                "Requests at the leader, unanswered.",
                server.forwarding.under_way_count,
            ),
            ("tq_buffered_bytes", "Requests in flight and unread answers.", server.sessions.size),
            ("tq_proposed_bytes", "Commands on their way to the log.", replica.in_flight_bytes()),
            ("tq_disk_free_bytes", "Free space for the data folder.", self._free_size()),
            (
                "tq_growth_refused",
                "1 while the disk is below its reserve.",
                int(replica.growth_refused() is not None),
            ),
        )
        for name, about, value in rows:
            yield GaugeMetricFamily(name, about, value=value)

        own = [one.version for one in status.members if one.node_id == status.node_id]
        about = "1; the labels say what this node runs."
        build = GaugeMetricFamily("tq_build_info", about, labels=["version"])
        for version in own:
            build.add_metric([version], 1)
        yield build

    def _counts(self) -> Iterator[Metric]:
        counters = self._server.counters
        rows = (
            ("tq_received_bytes", "Bytes from clients.", counters.bytes_in),
            ("tq_sent_bytes", "Bytes to clients.", counters.bytes_out),
            ("tq_connections_accepted", "Connections accepted.", counters.accepted),
            ("tq_connections_refused", "Connections over max_connections.", counters.turned_away),
            ("tq_forwarded", "Requests passed on to the leader.", counters.forwarded),
            (
                "tq_forwarded_lost",
                "Passed on, and the outcome was lost with a connection.",
                counters.forwarded_lost,
            ),
            (
                "tq_raft_entries_sent",
                "Log entries sent to the others by this leader in its term.",
                self._replica.entries_sent(),
            ),
            ("tq_pushes", "Messages sent without a request.", counters.pushed),
        )
        for name, about, value in rows:
            yield CounterMetricFamily(name, about, value=value)
        about = "Connections that sent no valid key: missing, unknown, or revoked meanwhile."
        kept_out = CounterMetricFamily("tq_authentications_refused", about, labels=["reason"])
        for reason, count in sorted(counters.unauthenticated.items()):
            kept_out.add_metric([reason], count)
        yield kept_out
        about = "Connections that the node ended, by reason."
        dropped = CounterMetricFamily("tq_connections_dropped", about, labels=["reason"])
        for reason, count in sorted(counters.dropped.items()):
            dropped.add_metric([reason], count)
        yield dropped

    def _requests(self) -> Metric:
        counters = self._server.counters
        about = "Answered requests by message type; outcome is ok or the code of the refusal."
        family = CounterMetricFamily("tq_requests", about, labels=["message", "outcome"])
        for code, count in enumerate(counters.answered):
            if count:
                family.add_metric([MESSAGES[code].name, OK], count)
        for (code, error), count in sorted(counters.refused.items()):
            family.add_metric([MESSAGES[code].name if code else NO_MESSAGE, error], count)
        return family

    def _latency(self) -> Metric:
        counters = self._server.counters
        about = "From the arrival of a request to its answer; waits for tasks are part of it."
        buckets = cumulative(LATENCY_BOUNDS, counters.latencies)
        return HistogramMetricFamily(
            "tq_request_duration_seconds", about, buckets=buckets, sum_value=counters.latency_sum
        )


def cumulative(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Buckets as the exposition wants them: (upper bound, how many were not above it)."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip(bounds, counts, strict=False):
        total += count
        buckets.append((repr(float(bound)), total))
    buckets.append(("+Inf", total + counts[len(bounds)]))
    return buckets
