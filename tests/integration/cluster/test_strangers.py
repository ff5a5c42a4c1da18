"""Who does not belong to a cluster: hostile bytes, another secret, folders of somebody else."""

from __future__ import annotations

import asyncio
import os
import pickle  # noqa: TID251  # thrown at every port, to show that nothing unpickles it
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.live.cluster import LiveCluster
from chaos.live.node import LiveNode
from cluster.replication.channels import FORWARD, FOUNDING, NOTE, RAFT, SNAPSHOT
from taskq import Client

WAIT_SECS = 20.0
ALONE = {"raft.enabled": False, "raft.peers": ""}


class Bomb:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.mkdir, (str(self._trace), 0o700)


def hostile(trace: Path) -> list[bytes]:
    """The bomb, bare and in every wrapping that somebody listening here might take off."""
    bombs = [pickle.dumps(Bomb(trace), protocol) for protocol in (0, 2, 5)]
    found = []
    for bomb in bombs:
        size = len(bomb)
        found += [bomb, struct.pack("<i", size) + bomb, struct.pack(">I", size) + bomb]
        found += [struct.pack(">IB", size + 1, kind) + bomb for kind in range(256)]
        found += [
            struct.pack(">I", size + 1) + channel + bomb
            for channel in (RAFT, FOUNDING, SNAPSHOT, FORWARD, NOTE)
        ]
        found.append(
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bomb
        )
    return found


def throw(port: int, data: bytes) -> None:
    """Sends the bytes and waits a moment for what the node makes of them."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as one:
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            one.settimeout(0.5)
            while one.recv(65_536):
                pass
    except (ConnectionError, TimeoutError):
        pass  # put out, or left waiting: both are fine


def test_hostile_pickles_run_nothing_on_any_port(cluster: LiveCluster, tmp_path: Path) -> None:
    trace = tmp_path / "unpickled"
    shells = hostile(trace)
    pickle.loads(shells[0])
    trace.rmdir()  # the bomb works
    node = cluster.nodes["n2"]
    monitoring = int(node.addresses()["monitoring"].rpartition(":")[2])
    for port in (node.port, cluster.raft_ports["n2"], monitoring):
        for data in shells:
            throw(port, data)
    assert not trace.exists()
    assert asyncio.run(cluster.whole()) < WAIT_SECS
    with Client(node.url) as client:
        client.submit("after", b"still here")


def logged(node: LiveNode, text: str) -> bool:
    return text in node.log.read_text()


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(WAIT_SECS):
        while not condition():  # noqa: ASYNC110  # a file
            await asyncio.sleep(0.05)
    assert condition(), what


async def test_a_wrong_secret_keeps_a_node_out_until_it_is_right(cluster: LiveCluster) -> None:
    cluster.nodes["n3"].terminate()
    with cluster.make("n3", {"raft.secret": "quite another secret"}) as wrong:
        wrong.log.unlink()
        wrong.spawn()
        await wrong.serving()
        await until(lambda: logged(wrong, "secret"), "it hears why")
        others = [cluster.nodes["n1"], cluster.nodes["n2"]]
        await until(lambda: any(logged(one, "secret") for one in others), "they say why")
        status = await cluster.status("n1")
        assert status is not None
        roles = {member.node_id: member.role for member in status.members}
        assert roles["n3"] == "unreachable"
    cluster.start(["n3"])
    await cluster.whole()


async def ends(node: LiveNode) -> str:
    """Its last words, where it does not start."""
    node.spawn()
    await asyncio.to_thread(node.wait, WAIT_SECS)
    assert node.returncode == 1, node.log_tail()
    reasons = [line["why"] for line in node.log_lines() if "why" in line]
    assert reasons, node.log_tail()
    return str(reasons[-1])


async def test_the_folder_of_another_node_is_refused(cluster: LiveCluster, tmp_path: Path) -> None:
    folder = cluster.nodes["n3"].folder
    cluster.nodes["n3"].terminate()
    settings = {"persistence.data_dir": folder, "broker.port": 0}
    with cluster.make("n1", settings, tmp_path) as mixed_up:
        why = await ends(mixed_up)
    assert f"{folder} belongs to node n3, and this node is n1" in why
    cluster.start(["n3"])
    await cluster.whole()


async def test_a_member_does_not_go_on_alone_and_a_single_node_does_not_join(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    cluster.nodes["n3"].terminate()
    with cluster.make("n3", ALONE) as alone:
        why = await ends(alone)
    assert "belongs to n3, a member of cluster" in why
    kept = tmp_path / "kept"
    shutil.move(cluster.nodes["n3"].folder, kept)
    with cluster.make("n3", ALONE) as alone:
        alone.spawn()
        await alone.serving()
        alone.terminate()
    with cluster.make("n3") as joining:
        why = await ends(joining)
    assert "the data folder is that of a group of one" in why
    shutil.rmtree(cluster.nodes["n3"].folder)
    shutil.move(kept, cluster.nodes["n3"].folder)
    cluster.start(["n3"])
    await cluster.whole()


@pytest.mark.timeout(90)
async def test_a_folder_of_another_cluster_is_kept_out(
    cluster: LiveCluster, tmp_path: Path
) -> None:
    cluster.nodes["n3"].terminate()
    kept = tmp_path / "kept"
    shutil.move(cluster.nodes["n3"].folder, kept)
    with LiveCluster(tmp_path / "other") as other:
        other.start()
        await other.whole()
        cluster_id = (await other.status("n3")).cluster_id  # type: ignore[union-attr]
    shutil.copytree(other.nodes["n3"].folder, cluster.nodes["n3"].folder)
    with cluster.make("n3") as stranger:
        stranger.log.unlink()
        stranger.spawn()
        await stranger.serving()
        told = [stranger, cluster.nodes["n1"], cluster.nodes["n2"]]
        await until(lambda: logged(stranger, '"other_cluster"'), "it hears why")
        await until(lambda: any(logged(one, '"other_cluster"') for one in told[1:]), "they know")
        words = f"belongs to cluster {cluster_id}, this node to"
        turned = f"this node to {cluster_id}"
        assert any(logged(one, words) or logged(one, turned) for one in told)
        status = await cluster.status("n1")
        assert status is not None
        assert status.leader, "the others go on"
    shutil.rmtree(cluster.nodes["n3"].folder)
    shutil.move(kept, cluster.nodes["n3"].folder)
    cluster.start(["n3"])
    await cluster.whole()
