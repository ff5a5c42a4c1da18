"""What founding decided counts only when it is on disk."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cluster.replication.founder import Founder
from cluster.replication.founding_letters import Answer, Ask, Formed, Prepare, decode, encode
from cluster.replication.founding_record import FoundingRecord, Stage, record_of, with_record
from cluster.storage.errors import StorageFailed
from cluster.storage.identity import new_identity

MEMBERS = {"a": "h:1", "b": "h:2", "c": "h:3"}


class Folder:
    """An identity file whose disk may refuse."""

    def __init__(self, record: FoundingRecord) -> None:
        self.identity = with_record(new_identity("a"), record)
        self.full = False

    def update_identity(self, identity: Any) -> None:
        if self.full:
            raise StorageFailed("no space")
        self.identity = identity


def test_a_record_that_could_not_be_written_is_told_to_nobody() -> None:
    sent: list[Any] = []
    formed: list[bool] = []
    links: Any = SimpleNamespace(
        handlers={},
        send=lambda channel, peer, message: sent.append((peer, decode(message))),
        set_cluster=lambda cluster_id: None,
    )
    folder = Folder(FoundingRecord(Stage.PREPARED, "c1"))
    group: Any = SimpleNamespace(node_id="a", members=MEMBERS)
    founder = Founder(folder, group, links, lambda: formed.append(True))
    founder._received("b", memoryview(encode(Answer("c1", "d2"))))
    folder.full = True
    founder._received("c", memoryview(encode(Answer("c1", "d3"))))
    founder._received("b", memoryview(encode(Ask(tuple(MEMBERS)))))
    assert record_of(folder.identity).stage is Stage.PREPARED
    assert not founder.founding.formed
    assert sent == [("b", Prepare("c1", tuple(MEMBERS)))]
    folder.full = False
    for peer, disk in (("b", "d2"), ("c", "d3")):
        founder._received(peer, memoryview(encode(Answer("c1", disk))))
    assert formed == [True]
    disks = {"a": folder.identity.disk_id, "b": "d2", "c": "d3"}
    assert sent[-1] == ("c", Formed("c1", disks))
