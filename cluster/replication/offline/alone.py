"""What makes a node the only member of a new cluster: identity, and entries that end its log.

A new cluster id, so that no node of the old cluster is ever taken for one of the new. Two entries
of a term that nobody has led: the first names this node as the only member (A10), the second lets
the tokens go on far above those that may have been given out by entries which are not there.
"""

from __future__ import annotations

from dataclasses import replace

from cluster.replication.founding_record import FoundingRecord, Stage, with_record
from cluster.replication.journal import STAND_IN
from cluster.replication.raft import REGULAR
from cluster.replication.voters import Voter
from cluster.replication.voters import encode_entry as encode_members
from cluster.storage.identity import Identity, new_identity
from cluster.storage.log_records import Entry
from taskq.commands import SkipTokens
from taskq.machine.entry import encode_entry

# More claims than any cluster makes between a backup and its loss, and few enough for eight million
# restores: tokens have 63 bits.
TOKEN_COUNT = 1 << 40


def identity_alone(node_id: str, *, member: bool) -> Identity:
    """A node of a new cluster: its only `member` (`raft.enabled: true`), or a group of one."""
    fresh = new_identity(node_id)
    if not member:
        return fresh
    disks = {node_id: fresh.disk_id}
    return with_record(
        replace(fresh, cluster_id=""), FoundingRecord(Stage.FORMED, fresh.cluster_id, disks)
    )


def entries_alone(
    node_id: str, address: str, last: tuple[int, int], stamps: tuple[int, int]
) -> list[Entry]:
    """The entries that follow entry `last` (its index, its term). `stamps`: cluster time and wall
    time of what comes before them."""
    index, term = last
    tokens = encode_entry(*stamps, [SkipTokens(TOKEN_COUNT)])
    return [
        (index + 1, term + 1, encode_members({node_id: Voter(address)})),
        (index + 2, term + 1, REGULAR + tokens),
    ]


def stand_ins(index: int, terms: tuple[int, int]) -> list[Entry]:
    """In the place of the last two entries of a state whose log is not there (A12)."""
    return [(index - 1, terms[0], STAND_IN), (index, terms[1], STAND_IN)]
