"""Hosts for the tests of this folder that need some."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from chaos.live.cluster import LiveCluster
from chaos.live.namespaces import Namespaces


@pytest.fixture(scope="module")
def five_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Members n1 ... n5 on hosts of their own; no node runs. Skipped without root; with it, what is
    missing beside is an error."""
    if os.geteuid():
        pytest.skip("network namespaces need root")
    with LiveCluster(tmp_path_factory.mktemp("hosts"), 5, ground=Namespaces()) as cluster:
        yield cluster
