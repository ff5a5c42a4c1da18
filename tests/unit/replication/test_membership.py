"""What a node tells the others of the members, also while its folder is opened again (A10)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cluster.replication import member_letters
from cluster.replication.channels import MEMBERS
from cluster.replication.founding_record import FoundingRecord, Stage, with_record
from cluster.replication.group_settings import GroupSettings
from cluster.replication.links import Note
from cluster.replication.member_letters import MemberLetter
from cluster.replication.membership import Membership
from cluster.replication.surroundings import Surroundings
from cluster.storage.identity import new_identity
from taskq.commands import RemoveMember
from tests.unit.replication.group_rig import Group


class Network:
    """Remembers the letters about members."""

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self._up = arguments[5]
        self._letters: list[MemberLetter] = []

    def set_peers(self, addresses: Any) -> None:
        pass

    def connected(self) -> set[str]:
        return set()

    def heard_from(self) -> set[str]:
        return set()

    def send(self, peer_id: str, message: bytes) -> bool:
        if message[:1] == MEMBERS:
            self._letters.append(member_letters.decode(message[1:]))
        return True

    def letter_to(self, peer_id: str) -> MemberLetter:
        """The one that a new connection begins with."""
        self._up(peer_id)
        return self._letters.pop()


async def membership_of(group: Group, node_id: str) -> Membership:
    """The side of a node to the others; the test makes its connections."""
    record = FoundingRecord(Stage.FORMED, "c", {one: f"disk {one}" for one in group.ids})
    directory: Any = SimpleNamespace(
        identity=with_record(new_identity(node_id), record), begin_state=None
    )
    addresses = {one: f"{one}:1" for one in group.ids}
    trust: Any = None
    network: Any = Network
    nothing: Any = lambda *_: None  # noqa: E731
    return Membership(
        GroupSettings(node_id, addresses, "", 0, trust),
        directory,
        Surroundings(network=network),
        note=lambda: Note("", "", 0, 0, 0, 0, 0, "", 1, 1, 0),
        on_formed=nothing,
        on_failure=nothing,
        on_state=nothing,
        on_forward=nothing,
        on_peer_lost=nothing,
        on_wake=nothing,
    )


def test_a_node_whose_folder_is_closed_tells_no_set_that_may_come_to_nothing(group: Group) -> None:
    """Whoever is told that it was removed believes it, until the members change again."""
    core: Any = group.elect("n1")
    membership = group.loop.run_until_complete(membership_of(group, "n1"))
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
