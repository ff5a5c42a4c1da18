"""Who gets in: keys, wrong keys, nothing read from strangers, keys that are revoked."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any

import pytest
import structlog

import cluster.server.access
import taskq.protocol.connection
from cluster.config.groups import ApiKey
from cluster.server.access import Access, Grant
from cluster.server.quota import REFUSAL_SECS
from cluster.server.sessions import GOODBYE_SECS
from cluster.server.strangers import QUIET_SECS
from taskq import commands
from taskq.protocol.codec import decode_request
from taskq.results import Claimed, TaskState
from tests.unit.server.group import Group
from tests.unit.server.rig import Peer, Rig, claim, submit, task_id


def key_of(key: str, role: Any = "admin", queues: str = "*", name: str | None = None) -> ApiKey:
    digest = f"sha256:{sha256(key.encode()).hexdigest()}"
    return ApiKey(hash=digest, role=role, queues=queues, name=name)


def rig_with(*keys: ApiKey, **quota: Any) -> Rig:
    return Rig(Access(enabled=True, keys=keys), **quota)


def told(peer: Peer) -> list[str]:
    """Codes of what the node said by itself: answers to no request."""
    refusal = peer.answer(0)
    return [] if refusal is None else [refusal.code]


# --- strangers ------------------------------------------------------------------------------------


def test_nothing_behind_a_hello_without_a_valid_key_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[int] = []

    def decode(kind: int, payload: bytes) -> Any:
        decoded.append(kind)
        return decode_request(kind, payload)

    monkeypatch.setattr(taskq.protocol.connection, "decode_request", decode)
    rig = rig_with(key_of("a"))
    for later in (0.0, REFUSAL_SECS / 2, 2 * REFUSAL_SECS):
        decoded.clear()
        stranger = rig.peer(key="wrong")
        rig.loop.advance(later)
        _, frame = stranger.connection.request(submit(1))
        stranger.session.data_received(frame)
        rig.loop.advance(1)
        stranger.session.data_received(frame)
        assert decoded == [0x01], "only Hello"
        assert stranger.pipe.lost
    assert rig.replica.applied_index == 0


def test_a_wrong_key_is_compared_with_all_and_answered_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(cluster.server.access, "compare_digest", compare)
    keys = [key_of(name) for name in "abc"]
    access = Access(enabled=True, keys=keys)
    for key in ("a", "c", "wrong"):
        compared.clear()
        access.admit(key)
        assert compared == [known.hash for known in keys], "the time would tell which"


def test_strangers_fill_no_log_and_are_counted() -> None:
    rig = rig_with(key_of("a"))
    with structlog.testing.capture_logs() as lines:
        for _ in range(50):
            rig.peer(key="wrong")
        rig.peer(key=None)
        rig.loop.advance(QUIET_SECS)
        rig.peer(key=None)
    said = [line for line in lines if "without a valid key" in line["event"]]
    assert [line.get("others_since", 0) for line in said] == [0, 50]
    assert "wrong" not in str(said).replace("without", "")
    assert rig.server.counters.unauthenticated == {"unknown": 50, "missing": 2}


def test_strangers_never_take_the_places_of_clients() -> None:
    rig = rig_with(key_of("a"), connection_count_max=3, newcomer_count_max=10)
    for _ in range(200):
        rig.peer(greet=False)
        rig.peer(key="wrong")
    clients = [rig.peer(key="a") for _ in range(3)]
    assert all(client.session.open for client in clients)
    assert rig.peer(key="a").answers[1].code == "TOO_MANY_CONNECTIONS"
    rig.loop.advance(15)
    assert [client.session.open and not client.pipe.lost for client in clients] == [True] * 3
    assert len(rig.server.sessions.all()) == 3, "strangers stay"


# --- revocation -----------------------------------------------------------------------------------


def test_a_revoked_key_is_told_so_and_out_with_all_that_it_waits_for() -> None:
    rig = rig_with(key_of("a"), key_of("w", "worker"))
    root, worker = rig.peer(key="a"), rig.peer(key="w")
    (waiting,) = worker.send(claim())
    assert rig.server.replace_keys([key_of("a")]) == 1
    assert rig.server.waiting.claims.count == 0
    assert worker.answer(waiting) is None
    assert told(worker) == ["UNAUTHENTICATED"]
    root.ask(submit(1))
    assert root.ask(commands.QueryStatus(task_id(1))).state == TaskState.READY
    rig.loop.advance(1)
    assert worker.pipe.lost
    assert not root.pipe.lost
    assert rig.server.counters.unauthenticated == {"revoked": 1}


def test_one_that_does_not_read_is_out_all_the_same() -> None:
    rig = rig_with(key_of("a"), key_of("w", "worker"))
    worker = rig.peer(key="w")
    worker.pipe.reads, worker.pipe.unread = False, 100
    worker.send(claim())
    rig.server.replace_keys([key_of("a")])
    assert rig.server.waiting.claims.count == 0
    assert len(rig.server.sessions) == 0
    rig.loop.advance(GOODBYE_SECS)
    assert worker.pipe.lost


def test_what_is_in_the_log_is_carried_out_and_nothing_after_it() -> None:
    rig = rig_with(key_of("a"), key_of("p", "producer"))
    root, producer = rig.peer(key="a"), rig.peer(key="p")
    rig.replica.held = True
    producer.send(submit(1))
    rig.server.replace_keys([key_of("a")])
    _, frame = producer.connection.request(submit(2))
    producer.session.data_received(frame)
    rig.replica.release()
    rig.loop.settle()
    known = [root.ask(commands.QueryStatus(task_id(number))) for number in (1, 2)]
    assert known[0].state == TaskState.READY
    assert known[1].code == "NOT_FOUND"


def test_other_rights_need_another_hello_and_another_name_does_not() -> None:
    rig = rig_with(key_of("a", name="old"), key_of("p", "producer"))
    root, producer = rig.peer(key="a"), rig.peer(key="p")
    assert (
        rig.server.replace_keys([key_of("a", name="new"), key_of("p", "producer", "mail.*")]) == 1
    )
    assert told(producer) == ["UNAUTHENTICATED"]
    assert root.session.open
    assert not root.pipe.closing
    again = rig.peer(key="p")
    assert again.ask(submit(1, "sms")).code == "PERMISSION_DENIED"


def test_a_claim_that_waits_at_the_leader_ends_there_too() -> None:
    group = Group(access=Access(enabled=True, keys=[key_of("a"), key_of("w", "worker")]))
    group.elect("n1")
    group.settle()
    worker, root = group["n2"].peer(key="w"), group["n1"].peer(key="a")
    worker.send(claim())
    group.settle()
    assert group["n1"].server.waiting.claims.count == 1
    group["n2"].server.replace_keys([key_of("a")])
    group.settle()
    assert group["n1"].server.waiting.claims.count == 0
    root.send(submit(1))
    group.settle()
    assert not group.carried_out(commands.ClaimTask)


def test_without_authentication_nobody_is_revoked() -> None:
    rig = Rig()
    peer = rig.peer()
    assert rig.server.replace_keys([]) == 0
    assert isinstance(peer.ask(claim(wait_ms=0)), Claimed)


def test_a_grant_says_who_it_is_and_never_the_key() -> None:
    access = Access(enabled=True, keys=[key_of("secret", name="mailer"), key_of("other")])
    mailer, other = access.admit("secret"), access.admit("other")
    assert isinstance(mailer, Grant)
    assert isinstance(other, Grant)
    assert (mailer.who, Access(enabled=False).admit(None).who) == ("mailer", "anyone")  # type: ignore[union-attr]
    assert other.who.startswith("sha256:")
    assert len(other.who) == len("sha256:") + 8
