"""The founding record in the identity of a folder, and who may open which folder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.replication.founding_record import (
    FoundingRecord,
    OtherFolder,
    Stage,
    claim_folder,
    record_of,
    with_record,
)
from cluster.storage.identity import Identity, new_identity

DISKS = {"a": "d1", "b": "d2", "c": "d3"}
RECORDS = [
    FoundingRecord(),
    FoundingRecord(Stage.PREPARED, "c1"),
    FoundingRecord(Stage.FORMED, "c1", DISKS),
]


class Folder:
    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.written = 0

    def update_identity(self, identity: Identity) -> None:
        self.identity = identity
        self.written += 1


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_kept_in_the_identity(record: FoundingRecord) -> None:
    identity = with_record(new_identity("a"), record)
    assert record_of(identity) == record
    assert identity.cluster_id == ("c1" if record.formed else "")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"stage": "formed", "cluster_id": "c1"},
        {"stage": "gone", "cluster_id": "c1", "disks": {}},
        {"stage": "formed", "cluster_id": "c1", "disks": ["a"]},
    ],
)
def test_a_malformed_record_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(OtherFolder, match="unreadable"):
        record_of(replace(new_identity("a"), founding=body))


def test_record_and_identity_name_the_same_cluster() -> None:
    identity = with_record(new_identity("a"), RECORDS[2])
    with pytest.raises(OtherFolder, match="names cluster c2, its founding record c1"):
        record_of(replace(identity, cluster_id="c2"))


def test_a_new_folder_becomes_that_of_a_member() -> None:
    folder = Folder(new_identity("a"))
    disk_id = folder.identity.disk_id
    claim_folder(folder, member=True)
    assert record_of(folder.identity) == FoundingRecord()
    assert (folder.identity.cluster_id, folder.identity.disk_id) == ("", disk_id)
    claim_folder(folder, member=True)
    assert folder.written == 1


def test_a_new_folder_stays_that_of_a_group_of_one() -> None:
    folder = Folder(new_identity("a"))
    claim_folder(folder, member=False)
    assert folder.identity.cluster_id
    assert folder.written == 0


@pytest.mark.parametrize("record", RECORDS)
def test_a_members_folder_is_no_group_of_one(record: FoundingRecord) -> None:
    folder = Folder(with_record(new_identity("a"), record))
    with pytest.raises(
        OtherFolder, match=r"without raft\.enabled: true it would go on as a second"
    ):
        claim_folder(folder, member=False)
    claim_folder(folder, member=True)
    assert folder.written == 0


def test_a_group_of_one_does_not_become_a_member() -> None:
    folder = Folder(new_identity("a").with_log())
    with pytest.raises(OtherFolder, match="is that of a group of one"):
        claim_folder(folder, member=True)
    assert folder.written == 0
