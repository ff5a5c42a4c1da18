"""The messages about the nodes themselves, which are no part of the replicated state: see
`commands.py`, from where all messages are taken.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from taskq.backup_results import BackupBegun, BackupChunk
from taskq.fields import Int, Text
from taskq.levels import LEVEL_LIMIT
from taskq.registry import Role, Sort, message
from taskq.results import (
    ClusterStatus,
    Count,
    Done,
    Flag,
    MemberChange,
    Transferred,
    Upgraded,
)

__all__ = [
    "AddMember",
    "BeginBackup",
    "EndBackup",
    "GetCluster",
    "ReadBackup",
    "RemoveMember",
    "TransferLeadership",
    "UpgradeCluster",
]


@message(0x50, Sort.CLUSTER, role=Role.PRODUCER, reply=ClusterStatus)
class GetCluster(NamedTuple):
    """Who the members are, who leads, and how far each has come. The leader knows most; with
    `stale` the node that is asked says what it knows, also while nobody leads."""

    stale: Flag = False


@message(0x51, Sort.CLUSTER, role=Role.ADMIN, reply=Transferred)
class TransferLeadership(NamedTuple):
    """Hands the lead to `target`, a voting member (empty: the one that has come farthest);
    answered when another node leads. Nothing is lost and no request fails."""

    target: Annotated[str, Text(200)] = ""


@message(0x52, Sort.CLUSTER, role=Role.ADMIN, reply=MemberChange)
class AddMember(NamedTuple):
    """Makes `node_id`, whose Raft port is at `address` ("host:port"), a member. It is given the log
    first and counts for nothing; it is added when it has caught up. Answered at once with how far
    that is: send it again until it is done. One change at a time."""

    node_id: Annotated[str, Text(64, 1)]
    address: Annotated[str, Text(300, 1)]


@message(0x53, Sort.CLUSTER, role=Role.ADMIN, reply=MemberChange)
class RemoveMember(NamedTuple):
    """Takes `node_id` out of the members, or ends its adding. Refused where those that are left
    would have no majority. A leader that is to be removed hands over the lead first. Answered at
    once with how far that is: send it again until it is done."""

    node_id: Annotated[str, Text(64, 1)]


@message(0x58, Sort.CLUSTER, role=Role.ADMIN, reply=BackupBegun)
class BeginBackup(NamedTuple):
    """Opens the state on the disk of the node that is asked, as it is now, to be read in chunks
    while the node goes on. It belongs to the connection, and ends with it.

    The answer waits until that disk has entry `least_index`: with `applied_index` of a `GetStats`
    that was answered before, the backup holds all that was acknowledged by then.
    """

    least_index: Count = 0


@message(0x59, Sort.CLUSTER, role=Role.ADMIN, reply=BackupChunk)
class ReadBackup(NamedTuple):
    """The next piece of a backup. One at a time: the next is asked for when this one is there."""

    backup: Count


@message(0x5A, Sort.CLUSTER, role=Role.ADMIN, reply=Done)
class EndBackup(NamedTuple):
    """Lets go of the state, read to its end or not."""

    backup: Count


@message(0x5C, Sort.CLUSTER, role=Role.ADMIN, reply=Upgraded)
class UpgradeCluster(NamedTuple):
    """Raises the cluster's feature level to `level` (0: the highest that all members can run). From
    then on members of older versions stop, and there is no way back. Refused while a member cannot
    run it or was not heard from; the same again is fine."""

    level: Annotated[int, Int(0, LEVEL_LIMIT)] = 0
