"""Changing who the members are, at the leader (A10).

    add     connecting --reached--> catching up --holds the log--> changing --applied--> done
    remove                                                         changing --applied--> done

A node that is to be added is followed first and counts for nothing; the entry that adds it is
proposed when it has caught up, and has said that it runs the cluster's feature level (A14). One
node is added or removed by an entry, and one change is under way at a time. Whoever wants it asks
again and again until it is done: nothing here outlives the leader's term but what is in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import structlog

from cluster.replication.founding_record import MEMBER_COUNT_MAX
from cluster.replication.leading import Leading
from cluster.replication.peers.names import parse_address
from cluster.replication.progress import Stage
from cluster.replication.raft import Raft
from cluster.replication.transfer import Transfer
from cluster.replication.voters import Voter
from taskq.commands import AddMember, RemoveMember
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.results import ChangeStage, MemberChange

log = structlog.get_logger(__name__)

# A node has caught up when it lacks so few entries, for so long. Seconds.
LAG_MAX = 256
HELD_SECS = 0.5
# A node that is to be added and cannot be reached is given up after so long. Seconds.
REACH_SECS = 10.0
RETRY_MS = 300


@dataclass
class Learner:
    """A node that is to be added. Times in loop seconds: since when it cannot be added, being out
    of reach or unfit; since when it has lacked little. `unfit`: why what it runs will not do."""

    node_id: str
    address: str
    unreached_since: float | None
    caught_up_since: float | None = None
    unfit: str = ""


class Changes:
    """See the module. `on_learner()`: the node that is to be added is another one, or none.
    `unfit(node_id)`: why what a node runs cannot be a member's; empty where it can, None where it
    was not heard from. `announced(node_id)`: where a node says that its Raft port is; empty where
    it did not say."""

    def __init__(
        self,
        raft: Raft,
        transfer: Transfer,
        on_learner: Callable[[], None],
        unfit: Callable[[str], str | None],
        announced: Callable[[str], str],
    ) -> None:
        self._raft = raft
        self._transfer = transfer
        self._on_learner = on_learner
        self._unfit = unfit
        self._announced = announced
        self.learner: Learner | None = None
        self._remove_itself = 0  # the term in which it was asked, and nobody could take over

    def learners(self) -> Iterable[str]:
        """Whom the leader follows beside the members."""
        return () if self.learner is None else (self.learner.node_id,)

    def addresses(self) -> dict[str, str]:
        """Where they are."""
        return {} if self.learner is None else {self.learner.node_id: self.learner.address}

    def _learn(self, learner: Learner | None) -> None:
        self.learner = learner
        self._on_learner()

    def end(self) -> None:
        """This node leads no more: whoever asks again asks the next leader."""
        if self.learner is not None:
            self._learn(None)

    def take(
        self, change: AddMember | RemoveMember, leading: Leading, now: float
    ) -> MemberChange | Refusal:
        """Begins a change, or says how far it is. Asked of a leader that is ready."""
        if not self._raft.in_group:
            text = "a group of one has no members to change: it needs raft.enabled: true"
            return refuse(ErrorCode.WRONG_STATE, text)
        if isinstance(change, AddMember):
            return self._add(change.node_id, change.address, leading, now)
        return self._remove(change.node_id, leading, now)

    # --- adding -----------------------------------------------------------------------------------

    def _add(
        self, node_id: str, address: str, leading: Leading, now: float
    ) -> MemberChange | Refusal:
        """Begins to add a node, or says how far that is."""
        newest = self._raft.roster.newest
        voter = newest.members.get(node_id)
        if voter is not None:
            if address != voter.address:
                return refuse(
                    ErrorCode.ALREADY_EXISTS,
                    f"{node_id} is a member at {voter.address or 'an address of raft.peers'}; to"
                    " move it, remove it first and add it at its new address",
                )
            settled = self._raft.members_settled
            return self._told(node_id, ChangeStage.DONE if settled else ChangeStage.CHANGING)
        learner = self.learner
        if learner is None or learner.node_id != node_id:
            obstacle = self._cannot_add(node_id, address)
            if obstacle is not None:
                return obstacle
            log.info("a node is to be added", member=node_id, address=address)
            self._learn(Learner(node_id, address, now))
            leading.follow_members(now)
            return self._told(node_id, ChangeStage.CONNECTING)
        if learner.address != address:
            text = f"{node_id} is being added at {learner.address}; remove it to begin anew"
            return refuse(ErrorCode.WRONG_STATE, text)
        return self._progress(learner, leading, now)

    def _cannot_add(self, node_id: str, address: str) -> Refusal | None:
        try:
            parse_address(address)
        except ValueError as error:
            return refuse(ErrorCode.INVALID_REQUEST, f"{error}: HOST:PORT of its Raft port")
        members = self._raft.roster.newest.members
        for other, voter in members.items():
            if voter.address == address:
                return refuse(ErrorCode.ALREADY_EXISTS, f"{address} is the address of {other}")
        if len(members) >= MEMBER_COUNT_MAX:
            text = f"there are {len(members)} members, as many as there may be"
            return refuse(ErrorCode.WRONG_STATE, text)
        unfit = self._unfit(node_id)
        return _refused(unfit) if unfit else self._busy()

    def _busy(self) -> Refusal | None:
        """Why no other change may begin now."""
        if self.learner is not None:
            text = f"{self.learner.node_id} is being added; one change of members at a time"
            return refuse(ErrorCode.WRONG_STATE, text)
        if self._transfer.holding:
            return refuse(ErrorCode.UNAVAILABLE, "the lead is being handed over", RETRY_MS)
        if not self._raft.members_settled:
            text = "another change of members is under way, and not committed yet"
            return refuse(ErrorCode.UNAVAILABLE, text, RETRY_MS)
        return None

    def _progress(self, learner: Learner, leading: Leading, now: float) -> MemberChange | Refusal:
        peer = leading.peers[learner.node_id]
        if learner.unfit:
            self._learn(None)
            return _refused(learner.unfit)
        if not peer.connected:
            if self._out_of_reach(learner, now):
                self._learn(None)
                return self._unreached(learner)
            return self._told(learner.node_id, ChangeStage.CONNECTING)
        lag = max(self._raft.last_index - peer.match, 0)
        return self._told(learner.node_id, ChangeStage.CATCHING_UP, lag)

    def _unreached(self, learner: Learner) -> Refusal:
        node_id, announced = learner.node_id, self._announced(learner.node_id)
        text = f"{node_id} cannot be reached at {learner.address}: nothing was changed. "
        if announced and announced != learner.address:
            text += f"It runs, and says that its Raft port is at {announced}"
        else:
            text += (
                "Does it run, with raft.peers naming members of this cluster, its own id, and the"
                " same raft.secret or certificates? The leader's log says more"
            )
        return refuse(ErrorCode.WRONG_STATE, text)

    def _out_of_reach(self, learner: Learner, now: float) -> bool:
        since = learner.unreached_since
        return since is not None and now - since > REACH_SECS

    def _told(self, node_id: str, stage: ChangeStage, lag: int | None = None) -> MemberChange:
        rows = [[one, voter.address] for one, voter in self._raft.roster.newest.members.items()]
        return MemberChange(node_id, stage.value, lag, rows)

    def turn(self, leading: Leading, now: float) -> None:
        """Once per round of the driver."""
        raft, learner = self._raft, self.learner
        may_propose = raft.members_settled and not self._transfer.holding
        if self._remove_itself == raft.term and may_propose:
            self._remove_itself = 0
            if self._loses_quorum(raft.node_id, leading) is None:
                self._take_out(raft.node_id, leading, now)
                return
        if learner is None:
            return
        node_id = learner.node_id
        if node_id in raft.others:
            self._learn(None)  # it is a member; whether that is committed, the roster tells
            return
        peer, unfit = leading.peers[node_id], self._unfit(node_id)
        if unfit is not None:
            learner.unfit = unfit
        if not peer.connected or learner.unfit:
            learner.caught_up_since = None
            if learner.unreached_since is None:
                learner.unreached_since = now
            elif now - learner.unreached_since > 2 * REACH_SECS:  # nobody asks any more
                why = learner.unfit or "out of reach"
                log.warning("a node that was to be added is given up", member=node_id, why=why)
                self._learn(None)
            return
        learner.unreached_since = None
        near = peer.stage is Stage.REPLICATE and raft.last_index - peer.match <= LAG_MAX
        if not near or unfit is None:
            learner.caught_up_since = None
        elif learner.caught_up_since is None:
            learner.caught_up_since = now
        elif now - learner.caught_up_since >= HELD_SECS and may_propose:
            voter = Voter(learner.address, peer.loss)
            self._propose({**raft.roster.newest.members, node_id: voter}, leading, now)

    def _propose(self, members: dict[str, Voter], leading: Leading, now: float) -> None:
        members = {one: members[one] for one in sorted(members)}
        index = self._raft.propose_members(members)
        leading.follow_members(now)
        log.info("the members change", entry=index, members=", ".join(members))

    # --- removing ---------------------------------------------------------------------------------

    def _remove(self, node_id: str, leading: Leading, now: float) -> MemberChange | Refusal:
        """Removes a node, or says how far that is; ends the adding of one that is no member yet."""
        raft, members = self._raft, self._raft.roster.newest.members
        if self.learner is not None and self.learner.node_id == node_id:
            log.info("a node is not added after all", member=node_id)
            self._learn(None)
            leading.follow_members(now)
            return self._told(node_id, ChangeStage.DONE)
        if node_id not in members:
            if not raft.roster.was_member(node_id):
                text = f"{node_id} is no member; the members are {', '.join(members)}"
                return refuse(ErrorCode.NOT_FOUND, text)
            settled = raft.members_settled
            return self._told(node_id, ChangeStage.DONE if settled else ChangeStage.CHANGING)
        obstacle = self._busy() or self._loses_quorum(node_id, leading)
        if obstacle is not None:
            return obstacle
        if node_id == raft.node_id:
            # Asked again, the next leader takes it out, and the gap is short.
            done = partial(self._handed_over, raft.term)
            self._transfer.begin("", leading, now, done)
        else:
            self._take_out(node_id, leading, now)
        return self._told(node_id, ChangeStage.CHANGING)

    def _take_out(self, node_id: str, leading: Leading, now: float) -> None:
        members = self._raft.roster.newest.members
        rest = {one: voter for one, voter in members.items() if one != node_id}
        self._propose(rest, leading, now)

    def _handed_over(self, term: int, why_not: Refusal | None) -> None:
        """A leader that nobody takes over from removes itself, and leads no more when that is
        committed. One that hears of it when its term is over does nothing."""
        if why_not is not None:
            self._remove_itself = term

    def _loses_quorum(self, node_id: str, leading: Leading) -> Refusal | None:
        """Whether those that are left would have no majority of members that are there and vote.
        To remove a node that is gone makes it better, and is allowed."""
        raft = self._raft
        rest = [one for one in raft.roster.newest.members if one != node_id]
        if not rest:
            text = f"{node_id} is the only member: a cluster without members would have no tasks"
            return refuse(ErrorCode.WRONG_STATE, text)
        voting = {*leading.voting(), *([raft.node_id] if raft.own_disk_counts else [])}
        there = [one for one in rest if one in voting]
        needed = len(rest) // 2 + 1
        if len(there) >= needed:
            return None
        gone = ", ".join(one for one in rest if one not in voting)
        return refuse(
            ErrorCode.WRONG_STATE,
            f"without {node_id}, {len(there)} of the {len(rest)} members that are left could be"
            f" counted on, and {needed} are needed: {gone} must come back, or be removed, first",
        )


def _refused(unfit: str) -> Refusal:
    text = f"{unfit}: nothing was changed. Start a version on it that runs the cluster's level"
    return refuse(ErrorCode.WRONG_STATE, text)
