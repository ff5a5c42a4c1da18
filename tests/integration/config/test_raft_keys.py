"""The group `raft`: what its keys do, alone and in a group.

`raft.snapshot_interval_secs` acts on the disk of every node: see the tests of `persistence`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from cluster.config import Config, ConfigError, load_config
from cluster.node import CannotStart
from cluster.settings import group_of
from tests.integration.config.live_node import LOCAL, hello, running, until
from tests.integration.config.tested_keys import acts

ALONE = {"raft.enabled": "true", "raft.peers": "node1=127.0.0.1:1", "raft.port": "0"}
A_SECRET = "0123456789abcdef"


def load(*settings: str) -> Config:
    pairs = dict(setting.split("=", 1) for setting in settings)
    return load_config(None, {}, {**LOCAL, **pairs})


def refusal(*settings: str) -> str:
    """What is said to settings that are no configuration."""
    with pytest.raises(ConfigError) as raised:
        load(*settings)
    return str(raised.value)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


async def leads(node: object) -> bool:
    return bool((await hello(node)).leader)  # type: ignore[arg-type]


@acts("raft.enabled", "raft.peers", "raft.port", "raft.secret")
async def test_the_nodes_of_the_list_found_a_cluster_and_serve(tmp_path: Path) -> None:
    ports = free_ports(3)
    peers = ",".join(f"node{n}=127.0.0.1:{port}" for n, port in enumerate(ports, 1))
    nodes = []
    async with contextlib.AsyncExitStack() as running_nodes:
        for number, port in enumerate(ports, 1):
            given = {
                "raft.enabled": "true",
                "raft.node_id": f"node{number}",
                "raft.port": port,
                "raft.peers": peers,
                "raft.secret": A_SECRET,
            }
            folder = tmp_path / str(number)
            nodes.append(await running_nodes.enter_async_context(running(folder, given)))
        handle = await nodes[0].client.submit("q", b"x", timeout=15)
        found = [await hello(node) for node in nodes]
        assert len({one.cluster_id for one in found}) == 1
        assert [one.node_id for one in found] == ["node1", "node2", "node3"]
        for node in nodes:
            assert (await node.client.status(handle.id)).queue == "q"
        # Together: one after the other, the last two could not hand the lead over.
        for node in nodes:
            node.stop.set()


@acts("raft.enabled")
async def test_a_folder_is_that_of_a_member_or_of_a_group_of_one(tmp_path: Path) -> None:
    async with running(tmp_path / "member", ALONE) as node:
        await until(lambda: leads(node), "the only member leads")
    with pytest.raises(
        CannotStart, match=r"without raft\.enabled: true it would go on as a second"
    ):
        async with running(tmp_path / "member"):
            pass
    async with running(tmp_path / "one"):
        pass
    with pytest.raises(CannotStart, match="is that of a group of one"):
        async with running(tmp_path / "one", ALONE):
            pass
    async with running(tmp_path / "member", ALONE) as node:
        await until(lambda: leads(node), "the only member leads again")


@acts("raft.secret")
async def test_a_node_with_another_secret_stays_outside(tmp_path: Path) -> None:
    first, second = free_ports(2)
    peers = f"node1=127.0.0.1:{first},node2=127.0.0.1:{second}"
    both = {"raft.enabled": "true", "raft.peers": peers}
    here = {"raft.node_id": "node1", "raft.port": first, "raft.secret": A_SECRET}
    there = {"raft.node_id": "node2", "raft.port": second, "raft.secret": A_SECRET[::-1]}
    async with (
        running(tmp_path / "1", {**both, **here}) as node,
        running(tmp_path / "2", {**both, **there}),
    ):
        await asyncio.sleep(1.5)  # three rounds of founding
        assert (await hello(node)).cluster_id == ""


@acts("raft.node_id")
async def test_a_folder_belongs_to_its_node(tmp_path: Path) -> None:
    async with running(tmp_path, {"raft.node_id": "blue"}) as node:
        assert (await hello(node)).node_id == "blue"
    with pytest.raises(CannotStart, match=r"belongs to node blue, and this node is green"):
        async with running(tmp_path, {"raft.node_id": "green"}):
            pass


@acts("raft.port")
async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port} on .* change raft.port"):
            async with running(tmp_path, {**ALONE, "raft.port": port}):
                pass


@acts("raft.port")
def test_the_port_counts_where_it_is_served() -> None:
    # In a group of one nothing listens on it, so that it cannot be in the way.
    load("broker.port=7000", "raft.port=7000")
    same = ["broker.port=7000", "raft.port=7000", "raft.enabled=true", "raft.peers=node2=h:1"]
    assert "raft.port = 7000 (command line): the same port as broker.port" in refusal(*same)
    assert "raft.port = 70000" in refusal("raft.port=70000")


@acts("raft.advertise")
def test_an_address_for_the_others_has_a_port() -> None:
    assert load_config(None, {}, {"raft.advertise": "h:1"}).raft.advertise == "h:1"
    group = group_of(load("raft.enabled=true", "raft.peers=node2=h:1", "raft.advertise=out:2"))
    assert group is not None
    assert group.members["node1"] == "out:2"
    said = refusal("raft.advertise=h")
    assert "raft.advertise = h (command line): allowed is HOST:PORT" in said


@acts("raft.peers")
def test_peers_without_raft_are_a_mistake() -> None:
    assert "peers need raft.enabled: true" in refusal("raft.peers=node2=h:6380")
    assert "node2 is listed twice" in refusal(
        "raft.enabled=true", "raft.peers=node2=h:6380,node2=g:6380"
    )


@acts("raft.secret", "raft.cert_file", "raft.key_file", "raft.ca_file")
def test_the_raft_port_needs_a_lock_on_an_open_host() -> None:
    raft = ["broker.host=0.0.0.0", "raft.enabled=true", "raft.peers=node2=h:1"]
    assert "open to strangers on broker.host 0.0.0.0" in refusal(*raft)
    files = [f"raft.{name}=x.pem" for name in ("cert_file", "key_file", "ca_file")]
    for lock in ([f"raft.secret={A_SECRET}"], files):
        assert load(*raft, *lock).raft.enabled
    assert "raft.secret = (hidden) (command line): allowed is at least 16" in refusal(
        "raft.secret=short"
    )


@acts("raft.cert_file", "raft.key_file", "raft.ca_file")
async def test_certificates_that_cannot_be_read_end_the_start(tmp_path: Path) -> None:
    files = {f"raft.{name}": tmp_path / name for name in ("cert_file", "key_file", "ca_file")}
    with pytest.raises(
        CannotStart, match=r"certificates cannot be used: raft\.cert_file: .*No such file"
    ):
        async with running(tmp_path, {**ALONE, **files}):
            pass


@acts("raft.cert_file", "raft.key_file", "raft.ca_file")
@pytest.mark.parametrize("missing", ["cert_file", "key_file", "ca_file"])
def test_certificates_come_whole(missing: str) -> None:
    given = {
        f"raft.{name}": "x.pem" for name in ("cert_file", "key_file", "ca_file") if name != missing
    }
    with pytest.raises(ConfigError, match=rf"raft\.{missing}: needed with the other"):
        load_config(None, {}, given)


@acts("raft.election_timeout_ms", "raft.heartbeat_interval_ms")
def test_the_times_of_an_election_fit_each_other() -> None:
    assert "at most half of raft.election_timeout_ms (1000)" in refusal(
        "raft.heartbeat_interval_ms=501"
    )
    assert "at most half of raft.election_timeout_ms (500)" in refusal(
        "raft.election_timeout_ms=500"
    )
    given = {"raft.election_timeout_ms": 2000, "raft.heartbeat_interval_ms": 501}
    assert load_config(None, {}, given).raft.heartbeat_interval_ms == 501
    group = group_of(load_config(None, {}, {**LOCAL, **ALONE, **given}))
    assert group is not None
    assert (group.election_timeout_secs, group.heartbeat_secs) == (2.0, 0.501)
