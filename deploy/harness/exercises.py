"""What operators do to a cluster, and what is done to it: each is harm that can be struck.

All of it goes by what Kubernetes offers: objects are applied, pods and claims deleted, evictions
asked for. `PodCluster` plays the controllers.
"""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import psutil

from chaos.live.nemesis import ALL, FOLLOWER, LEADER, Nemesis, Scene
from deploy.harness.budget import EvictionRefused, check_eviction
from deploy.harness.next_build import TAG, VERSION
from deploy.harness.pod_cluster import DATA, NAME, PodCluster
from deploy.harness.rendering import Objects

# Of three nodes: each needs some 15 s, on a machine that does other things.
ROLL_SECS = 300.0
# A pod that cannot start: its first restart comes at once, the second after ten seconds.
RESTARTS_SEEN = 2
WRONG = "\nbrocker:\n  port: 6379\n"
LOOK_SECS = 0.1

Harm = Callable[[Scene, tuple[str, ...]], AbstractAsyncContextManager[None]]


def pods_of(scene: Scene) -> PodCluster:
    """The cluster of the scene."""
    assert isinstance(scene.cluster, PodCluster)
    return scene.cluster


async def until(true: Callable[[], bool], what: str, timeout_secs: float) -> None:
    """Waits. Raises AssertionError where it does not come."""
    deadline = time.monotonic() + timeout_secs
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout_secs:g} s: {what}"
        await asyncio.sleep(LOOK_SECS)


def restarted(objects: Objects) -> Objects:
    """As `kubectl rollout restart`."""
    found = copy.deepcopy(objects.all)
    for one in found:
        if one["kind"] == "StatefulSet":
            notes = one["spec"]["template"]["metadata"].setdefault("annotations", {})
            notes["kubectl.kubernetes.io/restartedAt"] = str(time.time_ns())
    return Objects(found)


def with_image(objects: Objects, image: str) -> Objects:
    """As `kubectl set image`."""
    found = copy.deepcopy(objects.all)
    for one in found:
        if one["kind"] == "StatefulSet":
            one["spec"]["template"]["spec"]["containers"][0]["image"] = image
    return Objects(found)


@asynccontextmanager
async def rolling_restart(scene: Scene, _: tuple[str, ...]) -> AsyncIterator[None]:
    """kubectl rollout restart statefulset taskq"""
    cluster = pods_of(scene)
    before = list(cluster.set.pods.values())
    cluster.set.apply(restarted(cluster.objects))
    await cluster.set.until_rolled_out(ROLL_SECS)
    assert all(pod.ended.is_set() and pod.exit_codes == [0] for pod in before), cluster.set.told()
    yield


@asynccontextmanager
async def drain(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """kubectl drain, of the machine with this pod and, at once, of another: the budget refuses the
    second until the first is back."""
    cluster = pods_of(scene)
    (first,) = (pod for pod in cluster.set.pods.values() if pod.name in names)
    other = next(pod for pod in cluster.set.pods.values() if pod is not first)
    _evict(cluster, first.name)
    refused = 0
    while True:
        try:
            _evict(cluster, other.name)
        except EvictionRefused:
            refused += 1
            cluster.set.check()
            await asyncio.sleep(LOOK_SECS)
        else:
            break
    assert refused, "the budget let two go at once"
    assert first.ended.is_set(), "the second went before the first had come back"
    await cluster.set.until_rolled_out(ROLL_SECS)
    yield


def _evict(cluster: PodCluster, name: str) -> None:
    """Raises EvictionRefused."""
    pods = list(cluster.set.pods.values())
    check_eviction(cluster.budget, pods, cluster.set.replicas)
    (pod,) = (one for one in pods if one.name == name)
    cluster.set.delete(pod)


@asynccontextmanager
async def all_addresses(scene: Scene, _: tuple[str, ...]) -> AsyncIterator[None]:
    """kubectl delete pod --selector app.kubernetes.io/name=taskq: all come back elsewhere."""
    cluster = pods_of(scene)
    before = list(cluster.set.pods.values())
    await asyncio.gather(*(cluster.set.delete(pod) for pod in before))
    await cluster.set.until_rolled_out(ROLL_SECS)
    now = {pod.address for pod in cluster.set.pods.values()}
    assert now.isdisjoint(pod.address for pod in before)
    yield


@asynccontextmanager
async def volume_lost(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """kubectl delete pvc data-taskq-N; kubectl delete pod taskq-N"""
    cluster = pods_of(scene)
    (pod,) = (one for one in cluster.set.pods.values() if one.name in names)
    cluster.machine.lose_claim(f"{DATA}-{pod.name}")
    await cluster.set.delete(pod)
    await cluster.set.until_rolled_out(ROLL_SECS)
    yield


@asynccontextmanager
async def wrong_settings(scene: Scene, _: tuple[str, ...]) -> AsyncIterator[None]:
    """A setting that no node knows is applied, and the roll stops at the first pod; then kubectl
    rollout undo."""
    cluster = pods_of(scene)
    before = dict(cluster.set.pods)
    cluster.set.apply(_with_wrong_settings(cluster))
    last = max(before)

    def stuck() -> bool:
        pod = cluster.set.pods.get(last)
        return pod is not None and pod is not before[last] and pod.restarts >= RESTARTS_SEEN

    await until(stuck, "the pod with the wrong settings is started again", 120)
    pod = cluster.set.pods[last]
    assert set(pod.exit_codes) == {1}, pod.exit_codes
    assert "brocker" in cluster.nodes[pod.name].log_tail()
    untouched = [one for one in before if one != last]
    assert all(cluster.set.pods[one] is before[one] for one in untouched)
    cluster.set.apply(cluster.objects)
    await cluster.set.until_rolled_out(ROLL_SECS)
    assert all(cluster.set.pods[one] is before[one] for one in untouched)
    yield


def _with_wrong_settings(cluster: PodCluster) -> Objects:
    """What the operator has, rendered with a mistake in the settings of all nodes."""
    settings = cluster.steps.settings
    right = settings.read_text("utf-8")
    settings.write_text(right + WRONG)
    try:
        return cluster.steps.rendered()
    finally:
        settings.write_text(right)


@asynccontextmanager
async def hung(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """The node's process stops for ever (SIGSTOP): the live probe has its container restarted."""
    cluster = pods_of(scene)
    (pod,) = (one for one in cluster.set.pods.values() if one.name in names)
    assert pod.plan.liveness is not None
    container = pod.container()
    await cluster.machine.call(container.reload)
    (process,) = psutil.Process(container.attrs["State"]["Pid"]).children()
    os.kill(process.pid, signal.SIGSTOP)
    restarts = pod.restarts
    probe = pod.plan.liveness
    patience = (probe.period_secs + probe.timeout_secs) * probe.failures_max
    await until(lambda: pod.restarts > restarts, "restarted by its live probe", patience + 60)
    await cluster.set.until_rolled_out(ROLL_SECS)
    yield


@asynccontextmanager
async def upgraded(scene: Scene, _: tuple[str, ...]) -> AsyncIterator[None]:
    """kubectl set image statefulset/taskq taskq=taskq:next; kubectl rollout undo"""
    cluster = pods_of(scene)
    version = await _version(cluster)
    cluster.set.apply(with_image(cluster.objects, TAG))
    await cluster.set.until_rolled_out(ROLL_SECS)
    assert await _version(cluster) == VERSION != version
    await cluster.whole()
    cluster.set.apply(cluster.objects)
    await cluster.set.until_rolled_out(ROLL_SECS)
    assert await _version(cluster) == version
    yield


async def _version(cluster: PodCluster) -> str:
    """What the first pod runs."""
    program = "import importlib.metadata as found; print(found.version('taskq-cluster'))"
    return (await cluster.set.pods[0].exec("python", "-c", program)).strip()


@asynccontextmanager
async def scaled(scene: Scene, _: tuple[str, ...]) -> AsyncIterator[None]:
    """kubectl scale to five, taskq cluster add; taskq cluster remove, kubectl scale to three."""
    cluster = pods_of(scene)
    few, many = cluster.set.replicas, cluster.set.replicas + 2
    fresh = range(few, many)
    cluster.set.scale(many)
    await until(lambda: len(cluster.set.pods) == many, "all pods are there", 10)
    await until(lambda: all(cluster.set.pods[one].running for one in fresh), "they run", 30)
    first = cluster.set.pods[0]
    for ordinal in fresh:
        name = f"{NAME}-{ordinal}"
        address = f"{name}.{cluster.set.service}:{cluster.ports['raft']}"
        await first.exec("taskq", "cluster", "add", name, address)
    cluster.members(many)
    await cluster.set.until_rolled_out(ROLL_SECS)
    await cluster.whole()
    for ordinal in reversed(fresh):
        await first.exec("taskq", "cluster", "remove", f"{NAME}-{ordinal}")
    cluster.members(few)
    cluster.set.scale(few)
    await until(lambda: len(cluster.set.pods) == few, "those beyond are gone", 120)
    await cluster.set.until_rolled_out(ROLL_SECS)
    yield


@dataclass(frozen=True)
class Exercise:
    """One row of the table. `told`: what was done, in a few words; `two_builds`: it rolls out a
    later version, too."""

    name: str
    told: str
    nemesis: Nemesis
    target: str
    two_builds: bool = False


def _exercise(
    name: str,
    told: str,
    harm: Harm,
    target: str,
    *,
    planned: bool = True,
    two_builds: bool = False,
) -> Exercise:
    nemesis = Nemesis(name, harm, (target,), planned=planned, spreads=True)
    return Exercise(name, told, nemesis, target, two_builds)


EXERCISES = {
    one.name: one
    for one in (
        _exercise("rolling-restart", "`kubectl rollout restart`", rolling_restart, ALL),
        _exercise(
            "rolling-upgrade",
            "a later version rolled out, and back",
            upgraded,
            ALL,
            two_builds=True,
        ),
        _exercise(
            "drain",
            "two machines drained at once: the leader's pod is evicted, the second eviction refused"
            " until it is back",
            drain,
            LEADER,
        ),
        _exercise(
            "all-addresses", "all pods deleted at once; all addresses new", all_addresses, ALL
        ),
        _exercise(
            "volume-lost-follower",
            "a follower's claim and pod deleted: it comes back empty",
            volume_lost,
            FOLLOWER,
        ),
        _exercise("volume-lost-leader", "the same of the leader", volume_lost, LEADER),
        _exercise(
            "wrong-settings",
            "a setting that no node knows, rolled out and back: one pod fails, the others stay",
            wrong_settings,
            ALL,
        ),
        _exercise(
            "scale",
            "`kubectl scale` to 5 and `taskq cluster add`; `taskq cluster remove` and back to 3",
            scaled,
            ALL,
        ),
        _exercise(
            "hung",
            "the leader's process stops for ever (SIGSTOP): the live probe has it restarted",
            hung,
            LEADER,
            planned=False,
        ),
    )
}
