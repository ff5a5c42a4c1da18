"""The overlays as pods: founded from nothing, closed in, with workers and a backup beside them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.live.containers import IMAGE_USER
from deploy.harness.exercises import until
from deploy.harness.machine import Machine
from deploy.harness.operator_steps import Prepared, prepared
from deploy.harness.pod_cluster import NAME, PodCluster
from deploy.harness.rendering import no_kubectl

pytestmark = [pytest.mark.docker, pytest.mark.timeout(150, func_only=True)]

# What preStop waits for while others serve.
WAIT_SECS = 5.0


@pytest.fixture(params=["development", "production"])
def steps(request: pytest.FixtureRequest, tmp_path: Path) -> Prepared:
    missing = no_kubectl()
    if missing:
        pytest.skip(missing)
    tmp_path.chmod(0o755)
    return prepared(request.param, tmp_path)


@pytest.fixture
def machine(steps: Prepared, image: str, tmp_path: Path) -> Iterator[Machine]:
    images = {
        one["spec"]["template"]["spec"]["containers"][0]["image"]: image
        for one in steps.objects.of("StatefulSet")
    }
    with Machine(tmp_path, images) as made:
        yield made


async def test_nodes_workers_and_a_backup(steps: Prepared, machine: Machine) -> None:
    with PodCluster(machine, steps) as cluster:
        try:
            await cluster.begin()
            for pod in cluster.set.pods.values():
                container = pod.container()
                container.reload()
                host = container.attrs["HostConfig"]
                assert host["ReadonlyRootfs"]
                assert host["CapDrop"] == ["ALL"]
                assert host["Memory"] == pod.plan.memory_size
                assert await pod.exec("id", "-u") == f"{IMAGE_USER}\n"
            first = cluster.set.pods[0]
            status = await first.exec("taskq", "cluster", "status")
            assert all(f"{NAME}-{one}" in status for one in range(3))

            worker = cluster.beside("Deployment", "taskq-worker")
            worker.start()
            words = ("submit", "shop", "shop.greet", "--json-args", '["Ann"]', "--wait")
            assert '["Hello, Ann"]' in await first.exec("taskq", *words)
            await worker.delete()
            assert worker.exit_codes == [0]

            backup = cluster.beside("CronJob", "taskq-backup")
            backup.start()
            await until(lambda: bool(backup.exit_codes), "the backup has been taken", 60)
            backup.suspend()
            said = machine.log(backup.name).read_text()
            assert backup.exit_codes[0] == 0, said
            folder = machine.claim(backup.name, "taskq-backups")
            assert len(list(folder.glob("taskq-*.backup"))) >= 1
            await backup.delete()
        finally:
            await cluster.end()


@pytest.mark.parametrize("steps", ["development"], indirect=True)
async def test_only_one_that_has_others_waits_before_it_stops(
    steps: Prepared, machine: Machine
) -> None:
    with PodCluster(machine, steps) as cluster:
        try:
            cluster.set.scale(1)
            cluster.set.start()
            await _running(cluster, 1)
            assert await _stopped(cluster) < WAIT_SECS
            cluster.set.scale(2)
            await _running(cluster, 2)
            assert await _stopped(cluster) >= WAIT_SECS
        finally:
            await cluster.end()


async def _running(cluster: PodCluster, count: int) -> None:
    pods = cluster.set.pods
    await until(lambda: [one.running for one in pods.values()] == [True] * count, "they run", 60)


async def _stopped(cluster: PodCluster) -> float:
    """How long the preStop of the first pod takes, in seconds."""
    pod = cluster.set.pods[0]
    began = time.monotonic()
    await pod.exec(*pod.plan.pre_stop)
    return time.monotonic() - began
