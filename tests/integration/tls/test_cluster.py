"""Three nodes with TLS on every port: who works with them, who is kept out, and new certificates
while they run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.live.node import LiveNode
from cluster.certificates.certificate import read_certificates
from cluster.certificates.looking import certificate_at
from cluster.replication.peers.network import PeerNetwork
from cluster.replication.peers.trust import Trust, trust_secret
from taskq import AsyncClient, Client
from taskq.client.address import Address
from taskq.client.channel import Channel
from taskq.client.tls import TlsFiles
from taskq.commands import GetCluster, SubmitTask
from tests.integration.tls.cluster import NAMES, PATIENCE_SECS, Taps, TlsCluster, running
from tests.integration.tls.files import LOCAL, Files

ROOT = Path(__file__).parents[3]
TASKQ = [sys.executable, "-P", "-m", "taskq.cli"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsCluster]:
    with running(tmp_path_factory.mktemp("tls")) as made:
        yield made


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


# --- who belongs ----------------------------------------------------------------------------------


def environment(cluster: TlsCluster) -> dict[str, str]:
    """Ours, with the cluster's url and the files as operators set them."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TASKQ")}
    files = {f"TASKQ_{key.upper()}": str(path) for key, path in cluster.tls.items()}
    return {**ours, **files, "TASKQ_URL": cluster.url, "PYTHONPATH": str(ROOT)}


def taskq(cluster: TlsCluster, *arguments: str) -> Any:
    done = subprocess.run(
        [*TASKQ, *arguments, "--json"],
        env=environment(cluster),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_client_worker_and_command_line(cluster: TlsCluster) -> None:
    command = [*TASKQ, "worker", "builtins:len", "--queue", "words", "--executor", "thread"]
    worker = subprocess.Popen(command, env=environment(cluster), stderr=subprocess.PIPE)
    try:
        status = taskq(cluster, "cluster", "status")
        assert {one["role"] for one in status["members"]} == {"leader", "follower"}
        done = taskq(cluster, "submit", "words", "--json-args", '["four"]', "--wait")
        assert done["result"] == "4"
    finally:
        worker.terminate()
        worker.communicate(timeout=20)
    assert worker.returncode == 0


def test_a_url_says_all_and_the_leader_is_found(cluster: TlsCluster) -> None:
    files = "&".join(f"{key}={path}" for key, path in cluster.tls.items())
    leader = cluster.status().leader
    follower = follower_of(cluster)

    async def moves() -> None:
        url = f"taskqs://{LOCAL}:{follower.port}?{files}"
        async with (
            asyncio.timeout(PATIENCE_SECS),
            AsyncClient(url, timeout=PATIENCE_SECS) as client,
        ):
            while (await client.call(GetCluster(stale=True))).node_id != leader:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    asyncio.run(moves())


def test_ports_show_what_the_files_hold(cluster: TlsCluster) -> None:
    (own,) = read_certificates(cluster.files.folder / "n1.pem")
    ports = (cluster.nodes["n1"].port, cluster.raft_ports["n1"])
    assert [certificate_at(LOCAL, port, 5) for port in ports] == [own, own]
    text = taskq(cluster, "certs", "show", f"{LOCAL}:{ports[0]}")
    assert text["certificates"][0]["fingerprint"] == own.fingerprint


# --- who does not ---------------------------------------------------------------------------------


def shown_by(files: Files, name: str, ca: Path) -> Trust:
    """As somebody would come who shows these files, and believes the nodes."""
    contexts = []
    for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(kind)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca)
        if name:
            context.load_cert_chain(files.folder / f"{name}.pem", files.folder / f"{name}.key")
        contexts.append(context)
    stand_in = SimpleNamespace(server=contexts[0], client=contexts[1])
    return Trust(bytes(32), cast(Any, stand_in))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mailer", "wrong_certificate"),
        ("n2", "wrong_certificate"),
        ("foreign", "unreachable"),
        ("", "unreachable"),
        ("secret", "unreachable"),
    ],
    ids=["client of the api", "another node", "another authority", "no certificate", "no tls"],
)
async def test_nobody_else_gets_into_the_raft_port(
    cluster: TlsCluster, tmp_path: Path, name: str, told: str
) -> None:
    files = cluster.files
    if name == "foreign":
        files = Files(tmp_path)
        files.write("foreign", files.authority.issue_node("n3", [LOCAL], 1))
    trust = trust_secret("not asked for")
    if name != "secret":
        trust = shown_by(files, name, cluster.files.ca)
    status = await asyncio.to_thread(cluster.status)
    liar = PeerNetwork("n3", status.cluster_id, "disk", trust, lambda *_: None)
    liar.set_peers({"n1": f"{LOCAL}:{cluster.raft_ports['n1']}"})
    await liar.start(LOCAL, 0)
    try:
        async with asyncio.timeout(PATIENCE_SECS):
            while liar.counts[told] < 2:  # noqa: ASYNC110  # refused, and refused again
                await asyncio.sleep(0.02)
        assert liar.connected() == set()
        assert set(liar.counts) == {told}
    finally:
        await liar.stop()


async def test_who_is_let_in_is_the_node_that_the_certificate_names(cluster: TlsCluster) -> None:
    """Else the refusals above would prove nothing."""
    status = await asyncio.to_thread(cluster.status)
    trust = shown_by(cluster.files, "n3", cluster.files.ca)
    again = PeerNetwork("n3", status.cluster_id, "disk", trust, lambda *_: None)
    again.set_peers({"n1": f"{LOCAL}:{cluster.raft_ports['n1']}"})
    await again.start(LOCAL, 0)
    try:
        async with asyncio.timeout(PATIENCE_SECS):
            while not again.connected():  # noqa: ASYNC110  # nothing tells a test
                await asyncio.sleep(0.02)
    finally:
        await again.stop()


# --- what can be read on the way ------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_forwarded_cannot_be_read_between_nodes(tmp_path: Path) -> None:
    taps, marker = Taps(), b"a payload that nobody else may read " * 8
    try:
        with running(tmp_path, through=taps.tap) as cluster:
            asyncio.run(submit_at(follower_of(cluster), cluster, marker))
            with cluster.client() as client:
                assert sum(queue.ready_normal for queue in client.queues()) == 1
            until(lambda: len(taps.heard) > 2 * len(marker), "something goes between nodes")
            assert marker not in taps.heard
    finally:
        taps.stop()


@pytest.mark.slow
def test_a_leader_under_another_name_is_told_of_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, advertised="localhost") as cluster:
        follower = follower_of(cluster)
        caplog.clear()  # who asked for the leader until now may have been told, too
        with Client(f"taskqs://{LOCAL}:{follower.port}", timeout=20, **cluster.tls) as client:
            client.submit("q")
            until(lambda: caplog.records, "it tries to go to the leader")
            client.submit("q")
    (line,) = [one.getMessage() for one in caplog.records if one.name == "taskq.client"]
    assert "is out of reach: the node's certificate is not for 'localhost'" in line


def follower_of(cluster: TlsCluster) -> LiveNode:
    """A node that has to pass on what changes something."""
    leader = cluster.status().leader
    return next(node for name, node in cluster.nodes.items() if name != leader)


async def submit_at(node: LiveNode, cluster: TlsCluster, payload: bytes) -> None:
    """A submit that this node has to forward, since the client stays with it."""
    files = TlsFiles(*(str(path) for path in cluster.tls.values()))
    channel = Channel(cluster.url, PATIENCE_SECS, None, files, Address(LOCAL, node.port))
    await channel.send(SubmitTask(os.urandom(16), "sealed", "", payload))
    await channel.close()


# --- new files ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_authority_is_rolled_over_under_a_running_client(tmp_path: Path) -> None:
    """Both authorities are trusted first, then certificates are exchanged, then the old one goes:
    no process is started again, and nodes that lose their connections find each other."""
    with running(tmp_path) as cluster, cluster.client() as client:
        renewed = Files(tmp_path / "renewed")
        old, new = cluster.files.ca.read_bytes(), renewed.ca.read_bytes()
        client.submit("q")
        for step in (old + new, None, new):
            before = {name: cluster.log(name).count("were taken over") for name in NAMES}
            if step is None:
                for name in NAMES:
                    cluster.files.write(name, renewed.authority.issue_node(name, [LOCAL], 30))
                cluster.files.write("mailer", renewed.authority.issue_client("mailer", 30))
            else:
                cluster.files.ca.write_bytes(step)
            for node in cluster.nodes.values() if step != old + new else ():
                os.kill(node.pid, signal.SIGHUP)  # the first time they see it by themselves
            until(
                lambda before=before: all(  # type: ignore[misc]
                    cluster.log(name).count("were taken over") >= before[name] + 2 for name in NAMES
                ),
                "every node takes the files over, for both ports",
            )
            client.submit("q")
            with cluster.client() as another:
                another.submit("q")
        shown = [certificate_at(LOCAL, port, 5) for port in cluster.raft_ports.values()]
        assert {one.issuer for one in shown} == {read_certificates(renewed.ca)[0].subject}
        victim = cluster.nodes["n2"]
        victim.kill()
        victim.spawn()
        asyncio.run(victim.serving())
        cluster.whole()
        with pytest.raises(Exception, match="authority"), old_client(cluster, old) as stale:
            stale.submit("q")
        assert not any("were refused" in cluster.log(name) for name in NAMES)


def old_client(cluster: TlsCluster, authority: bytes) -> Client:
    """Who has not heard of the new authority."""
    ca = cluster.files.folder / "old-ca.pem"
    ca.write_bytes(authority)
    return Client(cluster.url, timeout=5, **{**cluster.tls, "ca_file": ca})
