"""Reads a node's vitals (`cluster/vitals.py`): how far it has come, and what it owes.

A leader owes what it proposed only while a majority can take it: members that are being given the
state answer heartbeats and take no entries, and while they are needed nobody is wedged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.replication.leading import Leading
from cluster.replication.progress import Stage
from cluster.replication.raft import Raft
from cluster.storage.recovery import Recovery
from cluster.vitals import Vitals

if TYPE_CHECKING:
    from cluster.replication.core import Core
    from cluster.replication.replica import Replica


def vitals(replica: Replica, core: Core | None, recovery: Recovery) -> Vitals:
    """Of this node, now."""
    refusal = replica.unavailable()
    if refusal is not None or core is None:
        return Vitals(str(recovery), "" if refusal is None else refusal.message)
    raft, driver, leading = core.raft, core.driver, core.consensus.leading
    target = raft.commit_index if leading is not None else core.consensus.following.told_commit
    recovery.replayed(raft.applied_index, raft.commit_index)
    return Vitals(
        recovery=str(recovery),
        leader=replica.leader,
        leads=replica.is_leader(),
        rounds=driver.round_count,
        writes=driver.writes,
        applied=raft.applied_index,
        target=target,
        lost_log=raft.loss != 0,
        owed=raft.commit_index > raft.applied_index or _waits_for_majority(raft, leading),
        moved=_moved(raft, leading),
    )


def _waits_for_majority(raft: Raft, leading: Leading | None) -> bool:
    """Whether this leader proposed something that a majority could take, and has not yet."""
    if leading is None or raft.last_index == raft.commit_index:
        return False
    able = sum(leading.peers[one].stage is not Stage.SNAPSHOT for one in leading.voting())
    return able + int(raft.own_disk_counts and raft.is_member) >= raft.majority


def _moved(raft: Raft, leading: Leading | None) -> tuple[int, ...]:
    own = (raft.term, raft.applied_index, raft.commit_index, raft.journal.flushed_index)
    if leading is None:
        return own
    peers = leading.peers.values()
    return (*own, *(peer.match for peer in peers), *(peer.next_index for peer in peers))
