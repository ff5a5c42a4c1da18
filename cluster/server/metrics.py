"""The monitoring port: /metrics for Prometheus, and the probes.

Everything is read at the time of the scrape; nothing here costs a request anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cluster.server.health import Health
from cluster.server.http_port import HttpPort, Page, PageMaker, probe
from cluster.server.node_metrics import NodeMetrics
from cluster.server.replica import Replica
from cluster.server.task_metrics import TaskMetrics
from cluster.server.tcp import BrokerServer


class Metrics:
    """What the pages are made of. `free_size()`: free bytes on the disk of the data folder."""

    def __init__(
        self, replica: Replica, server: BrokerServer, free_size: Callable[[], int]
    ) -> None:
        # Asked at every scrape and never described: descriptions would ask the state at start.
        self.registry = CollectorRegistry(auto_describe=False)
        self._tasks = TaskMetrics(replica)
        self.registry.register(NodeMetrics(replica, server, free_size))
        self.registry.register(self._tasks)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._turn = asyncio.Lock()

    async def page(self) -> Page:
        """The text for Prometheus. One at a time, however many ask."""
        async with self._turn:
            parts = [generate_latest(self.registry)]
            for part in self._tasks.queue_depths():
                parts.append(part)
                await asyncio.sleep(0)  # requests first
        return 200, CONTENT_TYPE_LATEST, b"".join(parts)


def monitoring_pages(metrics: Metrics, health: Health) -> dict[str, PageMaker]:
    """The pages of the monitoring port, for `HttpPort`."""
    return {
        "/metrics": metrics.page,
        "/livez": probe(health.live),
        "/readyz": probe(health.ready),
        "/startupz": probe(health.started_up),
    }


def monitoring_port(
    replica: Replica, server: BrokerServer, health: Health, free_size: Callable[[], int]
) -> HttpPort:
    """The monitoring port of a node, not listening yet."""
    return HttpPort(monitoring_pages(Metrics(replica, server, free_size), health))
