"""The overlays as pods: founded from nothing, closed in, with workers and a backup beside them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from chaos.live.containers import IMAGE_USER
from deploy.harness.exercises import until
from deploy.harness.machine import Machine, project
from deploy.harness.operator_steps import Prepared, prepared
from deploy.harness.pod import Pod
from deploy.harness.pod_cluster import DATA, NAME, PodCluster
from deploy.harness.pod_spec import plan_pod
from deploy.harness.rendering import ROOT, Objects, no_kubectl
from taskq.cli.keys import hash_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(150, func_only=True)]

OFFLINE = yaml.safe_load((ROOT / "offline.yaml").read_text("utf-8"))
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
    (offline,) = OFFLINE["spec"]["containers"]
    images[offline["image"]] = image
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
            await _greeted(first)
            await worker.delete()
            assert worker.exit_codes == [0]

            await _backed_up(cluster)
        finally:
            await cluster.end()


async def _greeted(node: Pod) -> None:
    """A worker has done a task."""
    words = ("submit", "shop", "shop.greet", "--json-args", '["Ann"]', "--wait")
    assert '["Hello, Ann"]' in await node.exec("taskq", *words)


@pytest.mark.slow
@pytest.mark.parametrize("steps", ["production"], indirect=True)
async def test_a_key_is_rolled_over_below_a_worker(steps: Prepared, machine: Machine) -> None:
    """Old and new are in the settings; the Secret has the new one; the old one is taken out."""
    entry = "    - name: new\n      role: worker\n      queues: shop\n      hash: {}\n"
    old = hash_of(steps.keys["worker"])
    text = steps.settings.read_text("utf-8") + entry.format(hash_of("new"))
    steps.settings.write_text(text)
    with PodCluster(machine, replace(steps, objects=steps.rendered())) as cluster:
        try:
            await cluster.begin()
            worker = cluster.beside("Deployment", "taskq-worker")
            worker.start()
            await _greeted(cluster.set.pods[0])
            project(machine.home / "files" / worker.name / "key", {"key": b"new"}, 0o644)
            steps.settings.write_text(text.replace(old, hash_of("nobody has it")))
            cluster.set.apply(steps.rendered())
            await cluster.set.until_rolled_out(90)
            await _greeted(cluster.set.pods[0])
            assert worker.restarts == 0
            await worker.delete()
            assert worker.exit_codes == [0]
        finally:
            await cluster.end()


async def _backed_up(cluster: PodCluster) -> str:
    """The job has run. The name of its file."""
    backup = cluster.beside("CronJob", "taskq-backup")
    backup.start()
    await until(lambda: bool(backup.exit_codes), "the backup has been taken", 60)
    backup.suspend()
    said = cluster.machine.log(backup.name).read_text()
    assert backup.exit_codes[0] == 0, said
    await backup.delete()
    found = sorted(cluster.machine.claim("taskq-backups").glob("taskq-*.backup"))
    return found[0].name


@pytest.mark.parametrize("steps", ["development"], indirect=True)
@pytest.mark.parametrize("way", [pytest.param("a backup", marks=pytest.mark.slow), "a survivor"])
async def test_a_cluster_that_was_lost(steps: Prepared, machine: Machine, way: str) -> None:
    """As README.md has it: from a backup, or from the one volume that is left."""
    folder = "/var/lib/taskq/data"
    with PodCluster(machine, steps) as cluster:
        try:
            await cluster.begin()
            task = (await cluster.set.pods[0].exec("taskq", "submit", "mails", "ann")).strip()
            commands = [
                f"taskq cluster examine --data-dir {folder}",
                f"taskq cluster recover --accept-loss --data-dir {folder} --node-id {NAME}-0",
            ]
            if way == "a backup":
                file = f"/backups/{await _backed_up(cluster)}"
                commands = [
                    f"mv {folder} /var/lib/taskq/before",
                    f"taskq backup verify {file}",
                    f"taskq backup restore {file} --data-dir {folder} --node-id {NAME}-0",
                ]
            cluster.set.scale(0)
            await until(lambda: not cluster.set.pods, "all nodes have stopped", 60)

            name = OFFLINE["metadata"]["name"]
            plan = plan_pod(Objects([]), OFFLINE, name, cluster.namespace)
            offline = Pod(machine, plan, "", None)
            offline.start()
            await until(lambda: offline.running, "the pod for stopped nodes runs", 30)
            for command in commands:
                await offline.exec(*command.split())
            await offline.delete()

            others = [f"{NAME}-{one}" for one in (1, 2)]
            for one in others:
                machine.lose_claim(f"{DATA}-{one}")
            cluster.set.scale(3)
            await _running(cluster, 3)
            for one in others:
                address = f"{one}.{cluster.set.service}:{cluster.ports['raft']}"
                await cluster.set.pods[0].exec("taskq", "cluster", "add", one, address)
            await cluster.set.until_rolled_out(60)
            status = await cluster.set.pods[1].exec("taskq", "cluster", "status")
            assert "All 3 members serve" in status
            assert "ready" in await cluster.set.pods[2].exec("taskq", "status", task)
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
