"""Nodes and clusters of real processes that serve while a block runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.live.cluster import LiveCluster
from chaos.live.node import LiveNode


@contextmanager
def serving_node(home: Path) -> Iterator[LiveNode]:
    """A node by itself; killed at the end."""
    node = LiveNode(home)
    node.spawn()
    try:
        asyncio.run(node.serving())
        yield node
    finally:
        node.kill()


@contextmanager
def whole_cluster(home: Path) -> Iterator[LiveCluster]:
    """Three nodes, all of which serve when the block begins."""
    with LiveCluster(home) as cluster:
        cluster.start()
        asyncio.run(cluster.whole())
        yield cluster
