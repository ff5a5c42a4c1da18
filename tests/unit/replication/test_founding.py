"""Founding, rule by rule: who says what to whom, and what is saved before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from cluster.replication.founding import LISTEN_SECS, Founding, Save, Step
from cluster.replication.founding_letters import (
    Answer,
    Ask,
    Differ,
    Formed,
    Letter,
    Prepare,
    decode,
    encode,
)
from cluster.replication.founding_record import FoundingRecord, Stage

MEMBERS = {"a": "h1:1", "b": "h2:1", "c": "h3:1"}
SET = tuple(MEMBERS)
SAME = "raft.peers must name the same nodes on all of them"
PREPARED = FoundingRecord(Stage.PREPARED, "c1")
DISKS = {"a": "disk-a", "b": "disk-b", "c": "disk-c"}
FORMED = FoundingRecord(Stage.FORMED, "c1", DISKS)


def node(
    node_id: str, record: FoundingRecord | None = None, members: Sequence[str] = SET
) -> Founding:
    addresses = {member: f"{member}:1" for member in members}
    minted = iter(["c1", "c2"])
    return Founding(
        node_id, addresses, f"disk-{node_id}", record or FoundingRecord(), lambda: next(minted)
    )


def shown(steps: list[Step]) -> list[Any]:
    """Saves as records, sends as (to, letter)."""
    return [
        step.record if isinstance(step, Save) else (step.peer_id, decode(step.message))
        for step in steps
    ]


def hears(founding: Founding, peer_id: str, letter: Letter) -> list[Any]:
    return shown(founding.receive(peer_id, encode(letter)))


def test_three_empty_nodes_become_one_cluster() -> None:
    nodes = {name: node(name) for name in SET}
    queue = [(name, step) for name in SET for step in nodes[name].wake(0.0)]
    saved: dict[str, FoundingRecord] = {}
    while queue:
        name, step = queue.pop(0)
        if isinstance(step, Save):
            saved[name] = step.record
        else:
            queue += [
                (step.peer_id, more) for more in nodes[step.peer_id].receive(name, step.message)
            ]
    assert saved == dict.fromkeys(SET, FORMED)
    assert all(one.formed and one.listed and one.obstacle == "" for one in nodes.values())
    assert all(one.wake(0.0) == [] for one in nodes.values())


def test_the_lowest_id_mints_and_saves_before_it_tells() -> None:
    minter = node("a")
    proposal = Prepare("c1", SET)
    assert shown(minter.wake(0.0)) == [PREPARED, ("b", proposal), ("c", proposal)]
    assert shown(minter.wake(0.0)) == [("b", proposal), ("c", proposal)]
    assert shown(minter.connected("c")) == [("c", proposal)]


def test_the_others_ask_whether_there_is_a_cluster() -> None:
    assert shown(node("b").wake(0.0)) == [("a", Ask(SET)), ("c", Ask(SET))]
    assert shown(node("b").connected("c")) == [("c", Ask(SET))]
    assert hears(node("b"), "c", Ask(SET)) == []


def test_a_minter_that_is_asked_proposes() -> None:
    assert hears(node("a", PREPARED), "b", Ask(SET)) == [("b", Prepare("c1", SET))]
    assert hears(node("a"), "b", Ask(SET))[0] == PREPARED
    assert shown(node("a").connected("b"))[0] == PREPARED


def test_an_answer_carries_the_disk_and_follows_the_record() -> None:
    founding = node("b")
    assert hears(founding, "a", Prepare("c1", SET)) == [PREPARED, ("a", Answer("c1", "disk-b"))]
    assert hears(founding, "a", Prepare("c1", SET)) == [("a", Answer("c1", "disk-b"))]


def test_a_newer_prepare_replaces_the_older() -> None:
    founding = node("b", PREPARED)
    newer = FoundingRecord(Stage.PREPARED, "c2")
    assert hears(founding, "a", Prepare("c2", SET)) == [newer, ("a", Answer("c2", "disk-b"))]


def test_formed_is_saved_with_all_disks_before_it_is_sent() -> None:
    minter = node("a", PREPARED)
    assert hears(minter, "b", Answer("c1", "an older disk")) == []
    assert hears(minter, "b", Answer("c1", "disk-b")) == []
    assert minter.obstacle == "the cluster is being founded; waiting for c"
    news = Formed("c1", DISKS)
    assert hears(minter, "c", Answer("c1", "disk-c")) == [FORMED, ("b", news), ("c", news)]


def test_answers_that_do_not_count() -> None:
    minter = node("a", PREPARED)
    hears(minter, "b", Answer("c1", "disk-b"))
    assert hears(minter, "c", Answer("c0", "disk-c")) == []
    assert hears(minter, "x", Answer("c1", "disk-x")) == []
    assert hears(node("b", PREPARED), "c", Answer("c1", "disk-c")) == []
    assert not minter.formed


def test_a_formed_node_answers_whoever_is_not() -> None:
    news = Formed("c1", DISKS)
    for name in SET:
        founding = node(name, FORMED)
        for letter in (Ask(SET), Ask(("x",)), Prepare("c9", SET), Answer("c9", "d")):
            assert hears(founding, "x", letter) == [("x", news)]
        assert shown(founding.connected("b")) == [("b", news)]
        assert hears(founding, "x", Differ(SET)) == []


@pytest.mark.parametrize(
    "record", [FoundingRecord(), PREPARED, FoundingRecord(Stage.PREPARED, "c9")]
)
def test_who_meets_a_formed_node_takes_its_cluster_over(record: FoundingRecord) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "b")):
        founding = node(name, record)
        assert hears(founding, "x", Formed("c9", {"x": "disk-x"})) == [], "nobody named it"
        assert hears(founding, other, Formed("c1", DISKS)) == [FORMED]
        assert founding.listed


def test_a_disk_that_is_not_listed_does_not_vote() -> None:
    founding = node("c", PREPARED)
    hears(founding, "a", Formed("c1", {**DISKS, "c": "its disk before"}))
    assert founding.formed
    assert not founding.listed


def test_an_empty_disk_may_find_other_members_than_it_was_told() -> None:
    founding = node("c", members=("b", "c", "d"))
    hears(founding, "b", Formed("c1", {**DISKS, "c": "its disk before"}))
    assert founding.formed
    assert not founding.listed


def test_a_disk_that_would_vote_wants_the_same_members() -> None:
    founding = node("c", PREPARED, members=("a", "c", "d"))
    with capture_logs() as logs:
        told = hears(founding, "a", Formed("c1", DISKS))
    assert told == [("a", Differ(("a", "c", "d")))]
    assert "raft.peers must name the same nodes on all of them" in logs[0]["why"]
    assert not founding.formed


def test_other_founding_members_are_refused_told_and_logged_once() -> None:
    minter, other = node("a"), node("b", members=("a", "b"))
    with capture_logs() as logs:
        for _ in range(3):
            assert hears(other, "a", Prepare("c1", SET)) == [("a", Differ(("a", "b")))]
            assert hears(minter, "b", Ask(("a", "b"))) == [("b", Differ(SET))]
            assert hears(minter, "b", Differ(("a", "b"))) == []
    assert [entry["why"] for entry in logs] == [
        f"a has the founding members a, b, c, this node a, b: {SAME}",
        f"b has the founding members a, b, this node a, b, c: {SAME}",
    ]
    assert other.record == FoundingRecord()
    assert "raft.peers" in minter.obstacle
    hears(minter, "b", Ask(SET))
    assert minter.obstacle == "the cluster is being founded; waiting for b, c"


def test_only_the_lowest_id_founds() -> None:
    with capture_logs() as logs:
        assert hears(node("c"), "b", Prepare("c1", SET)) == []
        assert hears(node("a"), "b", Prepare("c1", SET)) == []
    assert len(logs) == 2


def test_another_cluster_is_told_about_and_changes_nothing() -> None:
    founding = node("b", FORMED)
    with capture_logs() as logs:
        assert hears(founding, "a", Formed("c2", DISKS)) == []
        assert hears(founding, "a", Formed("c1", DISKS)) == []
    assert [entry["cluster_of_peer"] for entry in logs] == ["c2"]
    assert founding.record == FORMED


def test_a_malformed_message_is_dropped() -> None:
    for record in (FoundingRecord(), PREPARED, FORMED):
        with capture_logs() as logs:
            assert node("a", record).receive("b", b"\xc1") == []
        assert len(logs) == 1


def test_a_node_alone_in_its_set_listens_and_then_founds() -> None:
    founding = node("a", members=("a",))
    alone = FoundingRecord(Stage.FORMED, "c1", {"a": "disk-a"})
    assert founding.wake(5.0) == founding.wake(4.9 + LISTEN_SECS) == []
    assert "older one" in founding.obstacle
    assert shown(founding.wake(5.0 + LISTEN_SECS)) == [FoundingRecord(Stage.PREPARED, "c1"), alone]
    assert founding.listed
    again = node("a", FoundingRecord(Stage.PREPARED, "c1"), members=("a",))
    assert again.wake(0.0) == []
    assert shown(again.wake(LISTEN_SECS)) == [alone]


def test_a_wiped_node_that_names_only_itself_belongs_to_the_cluster_that_grew_from_it() -> None:
    founding = node("a", members=("a",))
    assert founding.wake(0.0) == founding.connected("b") == []
    grown = FoundingRecord(Stage.FORMED, "c0", {"a": "its disk before"})
    assert hears(founding, "b", Formed("c0", grown.disks)) == [grown]
    assert founding.wake(LISTEN_SECS) == []
    assert not founding.listed


def test_who_listens_leaves_new_nodes_waiting() -> None:
    founding = node("a", members=("a",))
    with capture_logs() as logs:
        for letter in (Ask(("a", "b")), Prepare("c9", ("a", "b")), Differ(("a", "b"))):
            assert hears(founding, "b", letter) == []
    assert not logs
    founding.wake(0.0)
    founding.wake(LISTEN_SECS)
    assert hears(founding, "b", Ask(("a", "b"))) == [("b", Formed("c1", {"a": "disk-a"}))]


def test_a_wiped_node_that_names_all_members_founds_nothing_however_links_are_cut() -> None:
    """Of three, the minter and another one are wiped, and the third cannot be reached."""
    founding = node("a")
    for now in range(100):
        founding.wake(float(now))
        hears(founding, "b", Answer("c1", "disk-b"))
    assert not founding.formed
    hears(founding, "c", Formed("c0", {**DISKS, "a": "its disk before"}))
    assert founding.record.cluster_id == "c0"
