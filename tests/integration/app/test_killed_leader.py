"""An app and its worker on three nodes while the leader is killed: nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.app.conftest import Shop, until
from tests.integration.serving import whole_cluster

COUNT = 300


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_tasks_survive_a_killed_leader(tmp_path: Path, executor: str) -> None:
    with whole_cluster(tmp_path / "cluster") as cluster:
        shop = Shop(tmp_path, cluster.url)
        try:
            shop.work("--concurrency=2", f"--executor={executor}")
            path = tmp_path / "lines"
            path.touch()
            specs = [shop.module.append.spec(str(path), number) for number in range(COUNT)]
            handles = shop.module.app.submit_many(specs)
            until(lambda: len(path.read_text().splitlines()) > COUNT / 5)
            cluster.kill(asyncio.run(cluster.leader()))
            after = [shop.module.add.submit(number) for number in range(10)]
            assert [handle.result(timeout=40)["sum"] for handle in after] == list(range(1, 11))
            for handle in handles:
                handle.result(timeout=40)
                assert handle.status().attempt == 1
            # The worker lived on, so each ran once.
            assert Counter(path.read_text().split()) == {str(n): 1 for n in range(COUNT)}
        finally:
            shop.close()
