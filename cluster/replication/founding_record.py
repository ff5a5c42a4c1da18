"""What founding leaves on a node's disk, and which folders may be opened as what (A9).

The record is part of the identity file: `founding` holds stage, cluster id and disk ids, and the
identity's own cluster id stays empty until the cluster is formed. A folder of a group of one has a
cluster id and no record. The node calls `claim_folder` before anything else is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from cluster.storage.errors import FolderRefused
from cluster.storage.identity import Identity

# A founding member's id, cluster id or disk id; also what `peers` can carry.
ID_SIZE_MAX = 64
MEMBER_COUNT_MAX = 100


class Stage(StrEnum):
    """How far this node has come. It never goes back."""

    EMPTY = "empty"
    PREPARED = "prepared"  # answered to a cluster id, which may still be replaced
    FORMED = "formed"  # belongs to the cluster for good


@dataclass(frozen=True, slots=True)
class FoundingRecord:
    """`disks`: node id -> disk id of every founding member; filled once the stage is formed."""

    stage: Stage = Stage.EMPTY
    cluster_id: str = ""
    disks: Mapping[str, str] = field(default_factory=dict)

    @property
    def formed(self) -> bool:
        return self.stage is Stage.FORMED


class OtherFolder(FolderRefused):
    """The folder belongs to another kind of group, or its founding record makes no sense."""


class Folder(Protocol):
    """The part of a data folder that founding needs."""

    @property
    def identity(self) -> Identity: ...
    def update_identity(self, identity: Identity) -> None: ...


def record_of(identity: Identity) -> FoundingRecord:
    """The founding record of a member's folder. Raises OtherFolder for one that is malformed."""
    body = identity.founding
    try:
        disks = {str(node_id): str(disk_id) for node_id, disk_id in body["disks"].items()}
        record = FoundingRecord(Stage(body["stage"]), str(body["cluster_id"]), disks)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise OtherFolder(f"the founding record of {identity.node_id} is unreadable") from error
    if identity.cluster_id != (record.cluster_id if record.formed else ""):
        raise OtherFolder(
            f"the folder of {identity.node_id} names cluster {identity.cluster_id or '(none)'}, "
            f"its founding record {record.cluster_id or '(none)'} ({record.stage})"
        )
    return record


def with_record(identity: Identity, record: FoundingRecord) -> Identity:
    """The identity of a member that has come so far."""
    body: dict[str, Any] = {
        "stage": record.stage.value,
        "cluster_id": record.cluster_id,
        "disks": dict(record.disks),
    }
    cluster_id = record.cluster_id if record.formed else ""
    return replace(identity, cluster_id=cluster_id, founding=body)


def claim_folder(folder: Folder, *, member: bool) -> None:
    """Checks that a folder is one of a member of a group (`raft.enabled: true`), or of a group of
    one; a new folder becomes what is wanted.

    Raises OtherFolder, with nothing changed, and StorageFailed.
    """
    identity = folder.identity
    if not member:
        if identity.founding:
            raise OtherFolder(
                f"the data folder belongs to {identity.node_id}, a member of "
                f"{_cluster_in_words(identity)}; without raft.enabled: true it would go on as a "
                "second cluster with the same tasks"
            )
        return
    if identity.founding:
        record_of(identity)
        return
    if identity.log_created:
        raise OtherFolder(
            f"the data folder is that of a group of one (cluster {identity.cluster_id}), and "
            "raft.enabled is true: a group of one cannot be made larger by configuration; use an "
            "empty folder, or set raft.enabled to false"
        )
    # Nothing was ever answered from this folder: its log is made before the first answer.
    folder.update_identity(with_record(identity, FoundingRecord()))


def _cluster_in_words(identity: Identity) -> str:
    return f"cluster {identity.cluster_id}" if identity.cluster_id else "a cluster in founding"
