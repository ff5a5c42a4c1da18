"""What the group `raft` means for the node: who the members are, and why they are trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.certificates.errors import CertificatesRefused
from cluster.config import load_config
from cluster.replication.group_settings import GroupSettings
from cluster.settings import group_of

LOCAL = {"broker.host": "127.0.0.1"}
PEERS = "node1=h1:7001,node2=[::1]:7002,node3=h3:7003"


def group(**given: Any) -> GroupSettings:
    settings = {path.replace("__", "."): value for path, value in given.items()}
    config = load_config(None, {}, {"raft.enabled": True, "raft.peers": PEERS, **LOCAL, **settings})
    found = group_of(config)
    assert found is not None
    return found


def test_without_raft_there_is_no_group() -> None:
    assert group_of(load_config(None, {}, LOCAL)) is None


def test_members_are_the_peers_and_this_node() -> None:
    listed = {"node1": "h1:7001", "node2": "[::1]:7002", "node3": "h3:7003"}
    assert group().members == listed
    assert group(raft__node_id="blue", raft__port=7009).members == {
        **listed,
        "blue": "127.0.0.1:7009",
    }
    advertised = group(raft__node_id="node3", raft__advertise="outside:1")
    assert advertised.members == {**listed, "node3": "outside:1"}


def test_where_it_listens_and_how_long_it_waits() -> None:
    made = group(
        raft__node_id="node2",
        raft__port=7002,
        raft__election_timeout_ms=2000,
        raft__heartbeat_interval_ms=500,
    )
    assert (made.node_id, made.host, made.port) == ("node2", "127.0.0.1", 7002)
    assert (made.election_timeout_secs, made.heartbeat_secs) == (2.0, 0.5)


def test_a_secret_is_a_key_that_only_it_gives() -> None:
    one, same, other = (group(raft__secret=letter * 16).trust.key for letter in "aab")
    assert one == same != other
    assert not group(raft__secret="a" * 16).trust.loopback_only


def test_with_neither_only_this_machine_is_trusted() -> None:
    assert group().trust.loopback_only


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    files = {f"raft__{name}_file": tmp_path / f"{name}.pem" for name in ("cert", "key", "ca")}
    with pytest.raises(CertificatesRefused, match=r"raft\.(cert|key|ca)_file"):
        group(**files)
    for path in files.values():
        path.write_text("no certificate")
    with pytest.raises(CertificatesRefused, match="holds no certificate"):
        group(**files)
