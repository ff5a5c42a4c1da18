"""Clusters of three real processes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.live.cluster import LiveCluster
from tests.integration.serving import whole_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Whole; each test leaves it so."""
    with whole_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made
