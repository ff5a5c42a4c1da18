"""A local cluster: its folder and ports, and what becomes of a node that ends by itself."""

from __future__ import annotations

import contextlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from taskq.cli import local_cluster, local_folder, up
from taskq.cli.command import Failure
from taskq.cli.local_cluster import LIVED_SECS, SHORT_LIVES_MAX, LocalCluster
from taskq.cli.local_folder import claim, free_ports, log_of, nodes_in, ports_from, secret_of
from taskq.cli.process import Member


class FakeBroker:
    """Stands for a process: `status` is how it ended."""

    def __init__(
        self, data: Path, scratch: Path, port: int, *, member: Member, **more: Any
    ) -> None:
        self.data, self.port, self.member, self.more = data, port, member, more
        self.name = member.node_id
        self.log = more["log"]
        self.status: int | None = None
        self.deeds: list[str] = []

    def last_words(self, count: int) -> str:
        return "    out of luck"

    def kill(self) -> None:
        self.status = -9

    def terminate(self) -> None:
        self.deeds.append("terminate")

    def stop(self) -> None:
        self.deeds.append("stop")


@pytest.fixture(autouse=True)
def all_ports_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_folder, "is_free", lambda port: True)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(local_cluster, "time", made)
    monkeypatch.setattr(local_cluster, "Broker", FakeBroker)
    return made


@pytest.fixture
def cluster(clock: Clock, tmp_path: Path) -> Any:
    return LocalCluster(
        tmp_path / "data", tmp_path, [7001, 7002, 7003], held=contextlib.nullcontext
    )


def test_the_nodes_know_each_other_and_share_a_secret(cluster: Any, tmp_path: Path) -> None:
    brokers = [node.process for node in cluster.nodes]
    assert [broker.name for broker in brokers] == ["node1", "node2", "node3"]
    assert len({broker.member.secret for broker in brokers}) == 1
    (peers,) = {broker.member.peers for broker in brokers}
    ports = [broker.member.raft_port for broker in brokers]
    assert peers == ",".join(f"node{n}=127.0.0.1:{port}" for n, port in enumerate(ports, 1))
    assert set(ports).isdisjoint([7001, 7002, 7003])
    assert cluster.url == "taskq://127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003"
    assert [broker.data for broker in brokers] == [
        tmp_path / "data" / f"node{n}" for n in (1, 2, 3)
    ]


def test_the_secret_is_in_no_command_line() -> None:
    member = Member("node1", 7000, "node1=127.0.0.1:7000", "hush-hush-hush-hush")
    assert "hush" not in str(member.settings())


def test_a_node_that_ends_is_started_again_on_its_port(cluster: Any, clock: Clock) -> None:
    assert cluster.look() == []
    first = cluster.nodes[1].process
    first.status = 70
    clock.now += 1
    (told,) = cluster.look()
    assert told.startswith("node2 ended (exit 70). Its log: ")
    assert told.endswith("out of luck")
    assert cluster.look() == []
    clock.now += 0.3
    assert cluster.look() == ["node2 is started again."]
    assert cluster.nodes[1].process is not first
    assert (cluster.nodes[1].process.port, cluster.nodes[1].process.member) == (7002, first.member)
    assert cluster.look() == []


def test_a_node_that_was_killed_is_no_mishap(cluster: Any, clock: Clock) -> None:
    cluster.kill("node3")
    assert cluster.look() == ["node3 was killed."]
    clock.now += 0.3
    assert cluster.look() == ["node3 is started again."]
    cluster.nodes[2].process.status = -11
    assert cluster.look()[0].startswith("node3 ended (signal 11).")


def lives(cluster: Any, clock: Clock, secs: float, count: int) -> list[str]:
    """Node 1 ends `count` times, each time after `secs`; what is said in the end."""
    told: list[str] = []
    for _ in range(count):
        clock.now += secs
        cluster.nodes[0].process.status = 1
        told = cluster.look()
        clock.now += 10
        cluster.look()
    return told


def test_a_node_that_never_lives_long_is_given_up(cluster: Any, clock: Clock) -> None:
    (told,) = lives(cluster, clock, 1.0, SHORT_LIVES_MAX)
    assert f"ended (exit 1) {SHORT_LIVES_MAX} times and is not started again" in told
    clock.now += 1000
    assert cluster.look() == []
    assert not cluster.given_up
    for node in cluster.nodes:
        node.short_lives = SHORT_LIVES_MAX
    assert cluster.given_up


def test_pauses_grow_and_a_long_life_forgets_them(cluster: Any, clock: Clock) -> None:
    lives(cluster, clock, 1.0, 3)
    cluster.nodes[0].process.status = 1
    cluster.look()
    clock.now += 4.9
    assert cluster.look() == []
    clock.now += 0.2
    assert cluster.look() == ["node1 is started again."]
    lives(cluster, clock, LIVED_SECS + 1, 2 * SHORT_LIVES_MAX)
    assert not cluster.nodes[0].given_up


def test_all_are_asked_to_end_before_one_is_waited_for(cluster: Any) -> None:
    cluster.stop()
    assert [node.process.deeds for node in cluster.nodes] == [["terminate", "stop"]] * 3


def test_a_node_that_cannot_be_started_ends_the_others(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeBroker] = []

    def make(*args: Any, **more: Any) -> FakeBroker:
        if len(made) == 2:
            raise OSError("no more processes")
        made.append(FakeBroker(*args, **more))
        return made[-1]

    monkeypatch.setattr(local_cluster, "Broker", make)
    with pytest.raises(OSError, match="no more processes"):
        LocalCluster(tmp_path, tmp_path, [1, 2, 3], held=contextlib.nullcontext)
    assert [broker.deeds for broker in made] == [["terminate", "stop"]] * 2


# --- the folder -----------------------------------------------------------------------------------


def test_a_folder_keeps_its_number_of_nodes(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    assert nodes_in(data) is None
    claim(data, 3)
    claim(data, 3)
    assert nodes_in(data) == 3
    with pytest.raises(Failure, match="holds a cluster of 3 nodes, not of 5"):
        claim(data, 5)


def test_a_single_brokers_folder_is_no_clusters(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("{}")
    with pytest.raises(Failure, match="holds the tasks of a single broker"):
        claim(tmp_path, 3)
    assert nodes_in(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1, "nodes": "x"}'])
def test_an_unreadable_note_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(Failure, match="is unreadable"):
        nodes_in(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps({"format": 2, "nodes": 3}))
    with pytest.raises(Failure, match="later version"):
        nodes_in(tmp_path)


def test_the_secret_is_random_kept_and_private(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    secret = secret_of(tmp_path)
    assert secret == secret_of(tmp_path) != secret_of(tmp_path / "other")
    assert len(secret) >= 32
    assert stat.S_IMODE((tmp_path / "raft-secret").stat().st_mode) == 0o600
    (tmp_path / "raft-secret").write_text("cut")
    assert secret_of(tmp_path) not in (secret, "cut")


def test_a_large_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_folder, "LOG_SIZE_MAX", 4)
    path = log_of(tmp_path, "node1")
    path.write_text("1234")
    assert log_of(tmp_path, "node1").exists()
    path.write_text("12345")
    assert not log_of(tmp_path, "node1").exists()
    assert (tmp_path / "node1.log.1").read_text() == "12345"


# --- ports ----------------------------------------------------------------------------------------


def test_ports_are_free_and_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_folder, "is_free", lambda port: port % 2 == 0)
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert all(port % 2 == 0 for port in ports)
    monkeypatch.setattr(local_folder, "_PORTS", range(100, 104))
    assert free_ports(1, {100}) == [102]
    with pytest.raises(Failure, match="no free ports"):
        free_ports(3)


def test_ports_from_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_folder, "is_free", lambda port: port != 7005)
    assert ports_from(7000, 3) == [7000, 7001, 7002]
    with pytest.raises(Failure, match="Port 7005 is in use by another program"):
        ports_from(7003, 3)
    with pytest.raises(Failure, match="Port 65536"):
        ports_from(65_535, 3)


def test_the_usual_ports_or_any(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    ends = contextlib.ExitStack()
    monkeypatch.setattr(up, "take", lambda ports, _: True)
    assert up.choose_ports(None, 3, ends) == [6379, 6380, 6381]
    assert capsys.readouterr().err == ""
    assert set(up.choose_ports(0, 3, ends)).isdisjoint([6379, 6380, 6381])
    monkeypatch.setattr(up, "take", lambda ports, _: False)
    assert len(set(up.choose_ports(None, 3, ends))) == 3
    assert "One of the ports 6379 to 6381 is in use" in capsys.readouterr().err


def test_an_even_number_of_nodes_is_refused(taskq: Any) -> None:
    failed = taskq("up", "--nodes", "4")
    assert failed.exit_code == 2
    assert "an odd number: 4 nodes survive no more failures than 3" in failed.output
