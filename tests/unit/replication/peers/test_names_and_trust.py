"""Addresses as text, names in certificates, secrets, and how often what went wrong is logged."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from cluster.replication.peers.names import parse_address
from cluster.replication.peers.tally import LOG_SECS, REMEMBERED_MAX, Tally
from cluster.replication.peers.trust import Trust, certifies, trust_loopback, trust_secret


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("node2:6380", ("node2", 6380)),
        ("10.0.0.2:1", ("10.0.0.2", 1)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_addresses(address: str, place: tuple[str, int]) -> None:
    assert parse_address(address) == place


@pytest.mark.parametrize(
    "address", ["", "node2", ":1", "n:", "n:0", "n:65536", "n:x", "::1:1", "n:-1", "[]:1", "n:²"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(address)


class Certificate:
    """What a TLS connection knows of its peer."""

    def __init__(self, *names: tuple[str, str], common_name: str = "") -> None:
        self._names = names
        self._common_name = common_name

    def getpeercert(self) -> dict[str, Any]:
        subject = ((("commonName", self._common_name),),)
        return {"subject": subject, "subjectAltName": self._names}


def test_a_certificate_names_the_node_exactly() -> None:
    good: Any = Certificate(("DNS", "node1"), ("DNS", "node1.raft"))
    assert certifies(good, "node1")
    assert certifies(good, "node1.raft")
    others: list[Any] = [
        None,
        Certificate(),
        Certificate(common_name="node1"),
        Certificate(("DNS", "node2")),
        Certificate(("DNS", "NODE1")),
        Certificate(("DNS", "*")),
        Certificate(("URI", "node1")),
    ]
    assert not any(certifies(one, "node1") for one in others)
    assert not certifies(Certificate(("DNS", "*.raft")), "node1.raft")  # type: ignore[arg-type]


def test_a_secret_gives_one_key_and_is_not_shown() -> None:
    trust = trust_secret("correct horse battery")
    assert trust == trust_secret("correct horse battery")
    assert trust.key not in (trust_secret("correct horse batterz").key, trust_loopback().key)
    assert "key" not in repr(trust)
    assert not trust.loopback_only
    assert trust_loopback().loopback_only
    assert Trust(b"k").server_context is None


def test_all_is_counted_and_little_is_logged() -> None:
    now = 0.0
    tally = Tally(lambda: now)
    with capture_logs() as lines:
        for _ in range(500):
            tally.note("secret", "stranger", "wrong")
        tally.note("full", "b", "too much waits")
        now = LOG_SECS
        tally.note("secret", "stranger", "wrong")
    assert tally.counts == {"secret": 501, "full": 1}
    assert [(one["kind"], one["more"]) for one in lines] == [
        ("secret", 0),
        ("full", 0),
        ("secret", 499),
    ]


def test_names_of_strangers_do_not_pile_up() -> None:
    tally = Tally(lambda: 0.0)
    with capture_logs():
        for number in range(3 * REMEMBERED_MAX):
            tally.note("unknown_node", f"node{number}", "who?")
    assert len(tally._logged) <= REMEMBERED_MAX
    assert tally.counts["unknown_node"] == 3 * REMEMBERED_MAX
