"""The ground of containers: members as they are to be, at fixed addresses, and nothing is left."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from chaos.live.cluster import LiveCluster
from chaos.live.containers import IMAGE_USER, OWNER, Containers
from taskq import Client

pytestmark = [pytest.mark.docker, pytest.mark.timeout(100, func_only=True)]

ROOT = Path(__file__).parents[3]
MEMORY_SIZE = 256 << 20
# An experiment that goes on until it is interrupted.
ENDLESS = """
import asyncio, sys, time
from pathlib import Path
from chaos.live.cluster import LiveCluster
from chaos.live.containers import Containers
with LiveCluster(Path(sys.argv[1]), ground=Containers(sys.argv[2])) as cluster:
    cluster.start(["n1", "n2"])
    for name in ("n1", "n2"):
        asyncio.run(cluster.nodes[name].serving())
    print("serving", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    """Whole; each test leaves it so."""
    ground = Containers(image, MEMORY_SIZE)
    with LiveCluster(tmp_path_factory.mktemp("cluster"), ground=ground) as made:
        made.start()
        asyncio.run(made.whole())
        yield made


def left(engine: Any, owner: int) -> list[Any]:
    """What an experiment made and has not removed."""
    label = {"label": f"{OWNER}={owner}"}
    containers = engine.containers.list(all=True, filters=label)
    return [*containers, *engine.networks.list(filters=label)]


def of(engine: Any, cluster: LiveCluster, name: str) -> Any:
    """The container of a member, as the engine tells it."""
    (found,) = [
        one.attrs
        for one in engine.containers.list()
        if cluster.nodes[name].host in str(one.attrs["NetworkSettings"]["Networks"])
    ]
    return found


async def test_a_member_is_closed_in_and_comes_back_in_its_place(
    cluster: LiveCluster, engine: Any
) -> None:
    node = cluster.nodes["n2"]
    first = await asyncio.to_thread(of, engine, cluster, "n2")
    host = first["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] == MEMORY_SIZE
    assert first["Config"]["Hostname"] == "n2"
    peers = ",".join(f"{name}={name}:{port}" for name, port in cluster.raft_ports.items())
    assert f"raft.peers={peers}" in first["Config"]["Cmd"], "members know each other by name"
    process = psutil.Process(node.pid)
    assert process.uids().real == IMAGE_USER
    assert process.name() == "tq-broker"

    await asyncio.to_thread(node.kill)
    assert (node.running, node.returncode) == (False, -signal.SIGKILL)
    cluster.start(["n2"])
    await cluster.whole()
    again = await asyncio.to_thread(of, engine, cluster, "n2")
    assert again["Id"] != first["Id"]
    assert node.has_folder()

    assert await asyncio.to_thread(node.terminate) < 10
    assert node.returncode == 0
    assert node.log_lines()[-1]["message"] == "stopped"
    cluster.start(["n2"])
    await cluster.whole()


async def test_a_member_that_is_cut_off_is_not_heard(cluster: LiveCluster) -> None:
    leader = await cluster.leader()
    others = [name for name in cluster.nodes if name != leader]
    ways = {(one, leader) for one in others} | {(leader, one) for one in others}
    mend = await asyncio.to_thread(cluster.ground.links.cut, ways)
    async with asyncio.timeout(20):
        while True:
            found = [await cluster.status(name) for name in others]
            leaders = {None if one is None else one.leader for one in found}
            if len(leaders) == 1 and leaders <= set(others):
                break
            await asyncio.sleep(0.05)
    await asyncio.to_thread(mend)
    await cluster.whole()


def test_a_member_that_cannot_start_says_why(image: str, tmp_path: Path) -> None:
    with LiveCluster(tmp_path, ground=Containers(image)) as cluster:
        node = cluster.nodes["n1"]
        node.environment["TASKQ_BROKER__BACKLOG"] = "1"
        node.spawn()
        node.wait(20)
        assert node.returncode == 1
        assert "broker.backlog" in node.log_tail()


def test_an_image_that_is_missing_is_not_looked_for_elsewhere(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="make image"):
        LiveCluster(tmp_path, ground=Containers("taskq:never"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_an_experiment_that_ends(
    image: str, tmp_path: Path, engine: Any, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", ENDLESS, tmp_path, image]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as experiment:
        assert experiment.stdout is not None
        assert experiment.stdout.readline() == "serving\n"
        assert len(left(engine, experiment.pid)) == 2 + 1
        experiment.send_signal(number)
    if number == signal.SIGKILL:  # the next one sees to it
        assert left(engine, experiment.pid)
        with Containers(image) as another:
            another.prepare([])
    assert left(engine, experiment.pid) == []


def test_clients_here_reach_every_member(cluster: LiveCluster) -> None:
    for place, node in enumerate(cluster.nodes.values()):
        with Client(node.url) as client:
            client.submit("q", b"%d" % place)
            assert client.stats().states["ready"] == place + 1
