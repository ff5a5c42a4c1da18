"""Clusters of three real processes for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from chaos.live.cluster import LiveCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Whole; each test leaves it so."""
    with LiveCluster(tmp_path_factory.mktemp("cluster")) as made:
        made.start()
        asyncio.run(made.whole())
        yield made
