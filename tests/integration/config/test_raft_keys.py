"""The group `raft`: what its keys do in a group of one, and that nothing else is pretended.

`raft.snapshot_interval_secs` acts on the disk of every node: see the tests of `persistence`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config import Config, ConfigError, load_config, not_served_yet
from cluster.node import CannotStart
from tests.integration.config.live_node import LOCAL, hello, running
from tests.integration.config.node_process import options, outcome
from tests.integration.config.tested_keys import acts

NOT_BUILT = "raft.enabled is not built yet"
A_SECRET = "0123456789abcdef"


def load(*settings: str) -> Config:
    pairs = dict(setting.split("=", 1) for setting in settings)
    return load_config(None, {}, {**LOCAL, **pairs})


def refusal(*settings: str) -> str:
    """What is said to settings that are no configuration."""
    with pytest.raises(ConfigError) as raised:
        load(*settings)
    return str(raised.value)


@acts("raft.enabled")
def test_a_node_does_not_pretend_to_replicate(tmp_path: Path) -> None:
    place = {"persistence.data_dir": tmp_path / "data"}
    code, said = outcome(*options({**LOCAL, **place, "raft.enabled": "true"}))
    assert (code, NOT_BUILT in said) == (1, True), said
    assert not (tmp_path / "data").exists()


@acts("raft.node_id")
async def test_a_folder_belongs_to_its_node(tmp_path: Path) -> None:
    async with running(tmp_path, {"raft.node_id": "blue"}) as node:
        assert (await hello(node)).node_id == "blue"
    with pytest.raises(CannotStart, match=r"belongs to node blue, and this node is green"):
        async with running(tmp_path, {"raft.node_id": "green"}):
            pass


@acts("raft.port")
def test_the_port_counts_where_it_is_served() -> None:
    # In a group of one nothing listens on it, so that it cannot be in the way.
    load("broker.port=7000", "raft.port=7000")
    same = ["broker.port=7000", "raft.port=7000", "raft.enabled=true"]
    assert "raft.port = 7000 (command line): the same port as broker.port" in refusal(*same)
    assert "raft.port = 70000" in refusal("raft.port=70000")


@acts("raft.advertise")
def test_an_address_for_the_others_has_a_port() -> None:
    assert load_config(None, {}, {"raft.advertise": "h:1"}).raft.advertise == "h:1"
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
    raft = ["broker.host=0.0.0.0", "raft.enabled=true"]
    assert "open to strangers on broker.host 0.0.0.0" in refusal(*raft)
    files = [f"raft.{name}=x.pem" for name in ("cert_file", "key_file", "ca_file")]
    for lock in ([f"raft.secret={A_SECRET}"], files):
        refused = [found.message for found in not_served_yet(load(*raft, *lock)) if found.refuse]
        assert [NOT_BUILT in message for message in refused] == [True]
    assert "raft.secret = (hidden) (command line): allowed is at least 16" in refusal(
        "raft.secret=short"
    )


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
