"""What a node tells about itself and its cluster: notes to the others, answers to people."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cluster.replication.core import Core
from cluster.replication.feature_level import highest_common
from cluster.replication.links import Note
from cluster.replication.membership import SUPERSEDED, Membership
from cluster.replication.progress import Progress, Stage
from cluster.replication.raft_state import CANDIDATE
from taskq.levels import Build
from taskq.results import ClusterStatus, MemberRole, MemberView

if TYPE_CHECKING:
    from cluster.replication.replica import Replica

LOST_LOG = "lost its log; does not vote until it is whole"
# {}: who, one or more. One against one; where most agree, whoever differs stops.
DIFFERS = "its state is not that of {}; a third member must tell which is right"
ONE_WAY = "can be reached, but does not reach {}: look at its raft.peers and log"
UNREACHED = "cannot be reached"
OPENING = "opens its folder again after its disk failed"
_STAGES = {Stage.SNAPSHOT: "is being given the state", Stage.PROBE: "being compared"}


def note(replica: Replica, core: Core | None, membership: Membership | None) -> Note:
    """For the other nodes."""
    state = ""
    if core is None or core.driver.stopped:
        state = (membership.obstacle if membership is not None else "") or OPENING
    elif membership is not None and (outside := membership.outside):
        state = outside
    elif core.raft.loss:
        state = LOST_LOG
    elif core.consensus.leading is not None and core.consensus.leading.differing:
        state = DIFFERS.format(", ".join(sorted(core.consensus.leading.differing)))
    log_bytes = 0 if core is None or core.driver.stopped else core.raft.journal.size
    build, level = replica.build, 0 if core is None else core.applier.machine.level
    return Note(
        *(replica.address, state, replica.term, replica.applied_index, replica.commit_index),
        *(replica.free_bytes(), log_bytes),
        version=build.version,
        level_min=build.level_min,
        level_max=build.level_max,
        level=level,
    )


def builds(replica: Replica, membership: Membership | None) -> dict[str, Build | None]:
    """What every member runs, and who is to be added; None for one that was not heard from on its
    present connection."""
    asked = [one for one, _ in replica.members()]
    if membership is None:
        return dict.fromkeys(asked, replica.build)
    told = {**membership.links.builds, replica.node_id: replica.build}
    return {one: told.get(one) for one in (*asked, *membership.learners)}


def cluster_status(
    replica: Replica, core: Core | None, membership: Membership | None
) -> ClusterStatus:
    """The leader knows what each member holds; any other node what the others told it last."""
    own, commit = replica.node_id, replica.commit_index
    told = note(replica, core, membership)
    views = []
    for node_id, address in _known(replica, membership):
        if node_id == own:
            applied = replica.applied_index
            lag = max(commit - applied, 0)
            views.append(
                MemberView(
                    *(own, address, _own_role(replica, core, membership), applied, applied, lag, 0),
                    *(told.free_bytes, told.log_bytes, told.state),
                    *replica.build,
                )
            )
        elif membership is not None:
            views.append(_other(node_id, address, replica, core, membership))
    return ClusterStatus(
        *(own, replica.leader, replica.term, commit, replica.applied_index, replica.cluster_id),
        *(replica.cluster_time_ms(), views),
        *(replica.machine.level, highest_common(builds(replica, membership))),
    )


def _known(replica: Replica, membership: Membership | None) -> list[tuple[str, str]]:
    """(node id, client address) of the members, of who is to be added, and of this node."""
    known = dict(replica.members())
    if membership is not None:
        notes = membership.links.notes
        for one in membership.learners:
            known.setdefault(one, notes[one].address if one in notes else "")
    known.setdefault(replica.node_id, replica.address)
    return sorted(known.items())


def _own_role(replica: Replica, core: Core | None, membership: Membership | None) -> str:
    if core is None or core.driver.stopped:
        founding = membership is not None and not membership.formed
        return (MemberRole.FOUNDING if founding else MemberRole.UNREACHABLE).value
    if replica.is_leader():
        return MemberRole.LEADER.value
    if membership is not None and membership.removed:
        return MemberRole.REMOVED.value
    if membership is not None and membership.waits:
        return MemberRole.LEARNER.value
    if core.raft.loss:
        return MemberRole.NON_VOTING.value
    candidate = core.raft.role == CANDIDATE
    return (MemberRole.CANDIDATE if candidate else MemberRole.FOLLOWER).value


def _other(
    node_id: str, address: str, replica: Replica, core: Core | None, membership: Membership
) -> MemberView:
    links = membership.links
    heard_at, told = links.heard_at.get(node_id), links.notes.get(node_id)
    heard = None
    if heard_at is not None:
        heard = max(int((asyncio.get_running_loop().time() - heard_at) * 1000), 0)
    reached = node_id in links.connected()
    state = "" if told is None else told.state
    leading = None if core is None else core.consensus.leading
    known = None if leading is None else leading.peers.get(node_id)
    role = MemberRole.FOLLOWER
    if membership.formed and node_id not in membership.voters.members:
        role, state = MemberRole.LEARNER, "" if reached else UNREACHED
    elif not reached:
        role, state = MemberRole.UNREACHABLE, ""
    elif node_id not in links.heard_from():
        role, state = MemberRole.UNREACHABLE, ONE_WAY.format(replica.node_id)
    elif state == OPENING:
        role = MemberRole.UNREACHABLE
    elif not membership.formed:
        role = MemberRole.FOUNDING
    elif node_id == replica.leader:
        role = MemberRole.LEADER
    elif state in (LOST_LOG, SUPERSEDED) or (known is not None and known.loss):
        role = MemberRole.NON_VOTING
    applied = match = lag = None
    if known is not None and core is not None:
        applied, match = known.applied, known.match
        lag = max(core.raft.last_index - known.match, 0)
        if leading is not None and node_id in leading.differing:
            state = DIFFERS.format(replica.node_id)
        state = state or _stage(known)
    elif told is not None:
        applied, lag = told.applied, max(replica.commit_index - told.applied, 0)
    return MemberView(
        *(node_id, address, role.value, match, applied, lag, heard),
        None if told is None else told.free_bytes,
        None if told is None else told.log_bytes,
        state,
        *(links.builds.get(node_id) or ("", None, None)),
    )


def _stage(known: Progress) -> str:
    return _STAGES.get(known.stage, "") if known.connected else ""
