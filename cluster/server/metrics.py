"""The monitoring port: /metrics for Prometheus, and the probes.

Everything is read at the time of the scrape; nothing here costs a request anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cluster.server.health import Health
from cluster.server.http_port import Page, PageMaker, probe
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


def probes(health: Health) -> dict[str, PageMaker]:
    """The pages that probes ask for, for `HttpPort`: there before there is anything to count."""
    return {
        "/livez": probe(health.live),
        "/readyz": probe(health.ready),
        "/startupz": probe(health.started_up),
    }
