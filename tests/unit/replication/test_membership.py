"""What a node tells the others of the members, and what of it is taken from whom (A10)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgpack
import pytest
from structlog.testing import capture_logs

from cluster.replication import member_letters
from cluster.replication.channels import MEMBERS, NOTE, RAFT, SNAPSHOT
from cluster.replication.founding_record import FoundingRecord, Stage, with_record
from cluster.replication.group_settings import GroupSettings
from cluster.replication.links import Note
from cluster.replication.member_letters import MemberLetter
from cluster.replication.membership import Membership
from cluster.replication.surroundings import Surroundings
from cluster.storage.flags import NON_VOTING_FLAG
from cluster.storage.identity import new_identity
from taskq.commands import AddMember, RemoveMember
from taskq.levels import LEVEL_MAX
from tests.unit.replication.group_rig import Group


class Network:
    """Remembers the letters about members. `hear(peer_id, message)`: a message arrives."""

    def __init__(self, *arguments: Any, on_silence: Any, **_: Any) -> None:
        self.hear, self._up = arguments[4], arguments[5]
        self.silence = on_silence
        self._letters: list[MemberLetter] = []

    def set_peers(self, addresses: Any, *_: Any) -> None:
        self.dialled = addresses

    def connected(self) -> set[str]:
        return set()

    def heard_from(self) -> set[str]:
        return {"n9"}

    def send(self, peer_id: str, message: bytes) -> bool:
        if message[:1] == MEMBERS:
            self._letters.append(member_letters.decode(message[1:]))
        return True

    def letter_to(self, peer_id: str) -> MemberLetter:
        """The one that a new connection begins with."""
        self._up(peer_id)
        return self._letters.pop()


class Side(Membership):
    """The side of a node to the others; the test makes its connections, and says what they tell.
    `taken`: channels and peers of what reached the core; `ends`: why the node cannot go on."""

    taken: list[tuple[bytes, str]]
    ends: list[str]

    def hear(self, peer_id: str, channel: bytes, payload: bytes = b"") -> None:
        """A message arrives."""
        self.links._network.hear(peer_id, channel + payload)  # type: ignore[attr-defined]

    def told(self, peer_id: str, entry: int, *members: str) -> None:
        """A letter about the members arrives."""
        letter = MemberLetter(f"{peer_id}:1", entry, list(members))
        self.hear(peer_id, MEMBERS, member_letters.encode(letter))
        self._follow()

    def level(self, peer_id: str, level: int) -> None:
        """A note arrives."""
        note = Note("", "", 0, 0, 0, 0, 0, "9", 1, level, level)
        self.hear(peer_id, NOTE, msgpack.packb(note))

    def takes(self, peer_id: str) -> bool:
        """Whether what it says of log and state reaches the core."""
        before = len(self.taken)
        for channel in (RAFT, SNAPSHOT):
            self.hear(peer_id, channel)
        assert len(self.taken) - before in (0, 2)
        return len(self.taken) > before


async def _side(group: Group, node_id: str, named: Sequence[str]) -> Side:
    record = FoundingRecord(Stage.FORMED, "c", {one: f"disk {one}" for one in group.ids})
    directory: Any = SimpleNamespace(
        identity=with_record(new_identity(node_id), record), begin_state=None
    )
    addresses = {one: f"{one}:1" for one in named or group.ids}
    trust: Any = None
    network: Any = Network
    nothing: Any = lambda *_: None  # noqa: E731
    ends: list[str] = []
    made = Side(
        GroupSettings(node_id, addresses, "", 0, trust),
        directory,
        Surroundings(network=network),
        note=lambda: Note("", "", 0, 0, 0, 0, 0, "", 1, 1, 0),
        on_formed=nothing,
        on_failure=lambda error: ends.append(str(error)),
        on_state=nothing,
        on_forward=nothing,
        on_peer_lost=nothing,
        on_wake=nothing,
    )
    made.taken, made.ends = [], ends
    for channel in (RAFT, SNAPSHOT):
        made.links.handlers[channel] = lambda peer_id, _, on=channel: made.taken.append(
            (on, peer_id)
        )
    return made


def membership_of(group: Group, node_id: str, named: Sequence[str] = ()) -> Side:
    """Of a node of the group. `named`: in its `raft.peers`, where that is not the group."""
    return group.loop.run_until_complete(_side(group, node_id, named))


def attached(group: Group, node_id: str, named: Sequence[str] = ()) -> Side:
    """The same, with its core."""
    made = membership_of(group, node_id, named)
    core: Any = group[node_id]
    core.exchange = None
    made.attach(core)
    return made


def test_a_node_that_was_not_added_is_dialled_again_where_it_says_that_it_is(group: Group) -> None:
    membership = membership_of(group, "n1")
    links, network = membership.links, cast(Any, membership.links._network)
    others = {"n2": "n2:1", "n3": "n3:1"}
    membership.told("n9", 0)
    assert network.dialled["n9"] == "n9:1"
    links.set_members({**others, "n9": "typo:1"}, {}, {"n9"})
    assert network.dialled["n9"] == "typo:1"
    links.set_members(others)
    assert network.dialled["n9"] == "n9:1"
    network.silence("n9")
    assert "n9" not in links.announced


def test_a_node_whose_folder_is_closed_tells_no_set_that_may_come_to_nothing(group: Group) -> None:
    """Whoever is told that it was removed believes it, until the members change again."""
    core: Any = group.elect("n1")
    membership = membership_of(group, "n1")
    network: Any = membership.links._network
    membership.attach(core)
    group.isolate("n1")
    core.driver.change_members(RemoveMember("n3"))
    core.settled()
    founding = MemberLetter("n1:1", 0, ["n1", "n2", "n3"])
    assert core.raft.others == ("n2",)
    assert network.letter_to("n3") == founding
    membership.detach()
    assert network.letter_to("n3") == founding
    membership.attach(core)
    group.let_go("n1", "n2")
    group.let_go("n2", "n1")
    group.flow()
    removed = core.raft.roster.newest.entry
    membership.detach()
    assert network.letter_to("n3") == MemberLetter("n1:1", removed, ["n1", "n2"])


# --- who may what ---------------------------------------------------------------------------------


def test_log_and_state_are_taken_from_members_only(group: Group) -> None:
    side = attached(group, "n1")
    with capture_logs() as logs:
        assert not side.takes("web.example.com")
        assert not side.takes("web.example.com")
    assert [entry["peer"] for entry in logs] == ["web.example.com"], "it is said once"
    assert side.takes("n2")
    assert not side.trusts("web.example.com")
    assert side.trusts("n2")


def test_the_level_is_taken_from_members_only(group: Group) -> None:
    side = attached(group, "n1")
    side.level("web.example.com", LEVEL_MAX + 1)
    assert side.ends == []
    side.level("n2", LEVEL_MAX + 1)
    assert f"the cluster is at feature level {LEVEL_MAX + 1} (says n2" in side.ends[0]


def test_nobody_is_dismissed_at_the_word_of_a_guest(group: Group) -> None:
    group.elect("n2")
    side = attached(group, "n1")
    side.told("web.example.com", 2**62, "web.example.com")
    assert side.removed == ""
    assert not side.takes("web.example.com")
    side.told("n2", 7, "n2", "n3")
    assert side.removed == "n1 is no member of the cluster any more: entry 7 of the log removed it"


def test_a_node_that_was_away_follows_members_that_its_log_does_not_name(group: Group) -> None:
    """Who they are is told by those that it knows, and by those of whom it was told."""
    side = attached(group, "n1")
    side.told("n5", 30, "n1", "n5", "n6")
    side.told("n4", 20, "n1", "n4", "n5")
    assert not side.takes("n5"), "nobody knows the two"
    side.told("n2", 10, "n1", "n2", "n4")
    assert side.takes("n5")
    assert side.takes("n6")
    assert not side.takes("n2"), "it was removed"
    network: Any = side.links._network
    assert network.letter_to("n3") == MemberLetter("n1:1", 30, ["n1", "n5", "n6"]), "told further"


def test_what_was_told_lasts_while_the_folder_is_opened_again(group: Group) -> None:
    side = attached(group, "n1")
    side.told("n2", 20, "n1", "n4")
    side.links._network.silence("n2")  # type: ignore[attr-defined]
    side.detach()
    assert side.takes("n4")
    core: Any = group["n1"]
    side.attach(core)
    assert side.takes("n4")
    assert not side.takes("n2")


def test_who_is_named_in_raft_peers_is_believed_until_it_leaves(group: Group) -> None:
    core: Any = group.elect("n1")
    side = attached(group, "n1", ("n1", "n3", "n4"))
    assert not side.takes("n4"), "its word counts, not its log"
    core.driver.change_members(RemoveMember("n3"))
    group.flow()
    group.tick(1.0, steps=10)
    assert not side.takes("n3"), "it was told, and is followed no more"
    side.told("n3", 20, "n1", "n3")
    side.level("n3", LEVEL_MAX + 1)
    assert not side.takes("n3")
    assert side.ends == []
    side.told("n4", 20, "n1", "n4")
    assert side.takes("n4")


def test_who_counts_for_nothing_believes_who_was_a_member_once(group: Group) -> None:
    """It may be one again, and the others are gone."""
    group.elect("n2")
    side = attached(group, "n1", ("n1", "n2"))
    side.told("n2", 7, "n2", "n3")
    side.told("n2", 9, "n2")
    side.told("web.example.com", 30, "web.example.com")
    assert not side.takes("n3")
    side.told("n3", 20, "n3")
    assert side.takes("n3")
    assert not side.takes("web.example.com")


def test_who_is_to_be_added_is_heard_as_long_as_that_lasts(group: Group) -> None:
    core: Any = group.elect("n1")
    side = attached(group, "n1")
    assert not side.takes("n4")
    core.driver.change_members(AddMember("n4", "n4:1"))
    assert side.takes("n4")
    assert side.trusts("n4"), "it serves clients"
    core.driver.change_members(RemoveMember("n4"))
    assert not side.takes("n4")


def test_who_leaves_is_heard_until_it_knows(group: Group) -> None:
    core: Any = group.elect("n1")
    side = attached(group, "n1")
    group.hold("n3", "n1")
    core.driver.change_members(RemoveMember("n3"))
    group.flow()
    assert side.takes("n3")
    group.let_go("n3", "n1")
    group.flow()
    group.tick(1.0, steps=10)
    assert not side.takes("n3")


def test_a_leader_that_leaves_is_heard_until_that_is_committed(group: Group) -> None:
    core: Any = group.elect("n1")
    side = attached(group, "n2")
    group.hold("n2", "n1")
    group.hold("n3", "n1")
    core.consensus.changes._take_out("n1", core.consensus.leading, group.loop.now)
    core.driver.wake()
    group.flow()
    assert group["n2"].raft.others == ("n3",)
    assert side.takes("n1")
    group.let_go("n2", "n1")
    group.let_go("n3", "n1")
    group.flow()
    assert not side.takes("n1")


@pytest.mark.parametrize(("named", "known"), [(("n1",), True), (("n1", "n2"), False)])
def test_an_empty_disk_that_knows_nobody_believes_who_comes(
    make_group: Any, named: tuple[str, ...], known: bool
) -> None:
    """Its `raft.peers` should name the others; where it does, nobody else is believed."""
    group = make_group(1)
    core: Any = group["n1"]
    side = attached(group, "n1", named)
    side.told("n3", 10, "n1", "n2", "n3")
    assert not side.takes("n3"), "it leads a cluster of its own"
    core.journal.set_flags({NON_VOTING_FLAG: 7})
    group.flow()
    side.told("n3", 10, "n1", "n2", "n3")
    assert side.takes("n3") is known
