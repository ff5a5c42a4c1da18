"""When a node stands for election, and who gets its vote (A5; Raft 5.2, 5.4, 9.6).

    FOLLOWER --silence, or the leader's connection closed--> asks (pre-vote)
        --a majority would vote--> CANDIDATE (term + 1, voted for itself, flushed, asks)
        --a majority votes--> leader

A pre-vote changes nothing at whoever is asked. A node says no while it hears a live leader.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from cluster.replication.messages import PreVote, PreVoteReply, Vote, VoteReply
from cluster.replication.post import Post
from cluster.replication.raft import Raft
from cluster.replication.raft_state import CANDIDATE, LEADER

# After the leader's connection closed: the first of the others waits so long before it asks, each
# following one a step more, so that they do not stand against each other. Seconds.
FIRST_ASKS_SECS = 0.002
NEXT_ASKS_SECS = 0.015
# A node that asks itself, and has the better log or name, denies a pre-vote for so long: at most,
# and as a part of the election time-out. It asks again later than that, so that who can win may.
DENY_SECS = 0.1
DENY_PART = 0.1
# Asked again where nobody was elected: parts of the election time-out.
AGAIN_MIN, AGAIN_MAX = 0.2, 0.5


class Elections:
    """See the module. `timeout_secs`: the silence after which a leader is replaced. `now()`: loop
    time. `on_elected(uncertain)`: a majority voted for this node; see `Leading`."""

    def __init__(
        self,
        raft: Raft,
        post: Post,
        rng: random.Random,
        timeout_secs: float,
        now: Callable[[], float],
        on_elected: Callable[[dict[str, int] | None], None],
    ) -> None:
        self._raft = raft
        self._post = post
        self._rng = rng
        self._timeout_secs = timeout_secs
        self._deny_secs = min(DENY_SECS, DENY_PART * timeout_secs)
        self._now = now
        self._on_elected = on_elected
        self._asked: dict[str, bool] = {}  # who would vote for this node -> uncertain
        self._denied: set[str] = set()  # who said no
        self._votes: dict[str, int] = {}  # who voted -> its flag
        self._asking_since: float | None = None
        self._heard_at = now()
        self._lost_sight = False  # the leader's connection closed
        self.count = 0  # how often this node stood
        # A node that starts asks soon: a live leader is not disturbed by being asked.
        soon = now() + timeout_secs * (0.1 + 0.2 * rng.random())
        self.deadline = soon if raft.others else 0.0

    # --- the timer --------------------------------------------------------------------------------

    def _rearm(self) -> None:
        """Somewhere from one election time-out to half of one more."""
        self._heard_at = self._now()
        self.deadline = self._heard_at + self._timeout_secs * (1 + self._rng.random() / 2)

    def heard_leader(self) -> None:
        """The leader of the current term gave a sign of life."""
        self._lost_sight = False
        self._asking_since = None
        self._rearm()

    def lost_sight(self, peer_id: str) -> None:
        """A connection with a peer was closed. If it is the leader's, its process is gone, or will
        be heard again in a moment."""
        raft = self._raft
        if peer_id != raft.leader or raft.role == LEADER:
            return
        self._lost_sight = True
        rank = [one for one in sorted((*raft.others, raft.node_id)) if one != peer_id]
        delay = FIRST_ASKS_SECS * (1 + self._rng.random())
        delay += NEXT_ASKS_SECS * rank.index(raft.node_id)
        self.deadline = min(self.deadline, self._now() + delay)

    def stop_asking(self) -> None:
        """A new term or a new leader: what was asked for is forgotten."""
        self._asking_since = None
        self._asked.clear()
        self._denied.clear()
        self._votes.clear()

    def turn(self) -> None:
        """Once per round of the driver, after the inbox, so that a sign of life that waits on the
        socket is not taken for silence."""
        if self._raft.role != LEADER and self._now() >= self.deadline:
            self._ask()

    # --- asking -----------------------------------------------------------------------------------

    def _may_stand(self) -> bool:
        """A10: only a member stands. A8: one that lost its log does not; an uncertain one needs
        every vote."""
        raft = self._raft
        return raft.is_member and (not raft.loss or raft.uncertain)

    def _again(self) -> None:
        spread = AGAIN_MIN + (AGAIN_MAX - AGAIN_MIN) * self._rng.random()
        self.deadline = self._now() + self._timeout_secs * spread

    def _ask(self) -> None:
        self._again()
        if not self._may_stand():
            return
        raft = self._raft
        self._asking_since = self._now()
        self._asked = {raft.node_id: raft.uncertain}
        self._denied.clear()
        if self._enough(self._asked):
            self.stand()
            return
        ask = PreVote(raft.term, raft.flag, raft.term + 1, raft.last_index, raft.last_term)
        for peer in raft.others:
            self._post.send(peer, ask)

    def _enough(self, yes: dict[str, bool]) -> bool:
        """A majority of certain votes, or all votes: of the members as of now (A10)."""
        raft = self._raft
        counted = [yes[one] for one in (raft.node_id, *raft.others) if one in yes]
        certain = sum(not uncertain for uncertain in counted)
        return certain >= raft.majority or len(counted) == len(raft.others) + 1

    def stand(self) -> None:
        """Candidate of a new term. The others are asked when term, vote and log are on disk."""
        raft = self._raft
        self.stop_asking()
        self._again()
        self.count += 1
        raft.stand()
        self._votes = {raft.node_id: raft.loss}
        if not self._elected():
            ask = Vote(raft.term, raft.flag, raft.last_index, raft.last_term)
            for peer in raft.others:
                self._post.send_after_all(peer, ask)

    def _elected(self) -> bool:
        """Counts the votes; whether this node leads now."""
        if not self._enough({one: bool(loss) for one, loss in self._votes.items()}):
            return False
        all_voted = len(self._votes) == len(self._raft.others) + 1
        uncertain = {one: loss for one, loss in self._votes.items() if loss}
        self.stop_asking()
        self._on_elected(uncertain if all_voted else None)
        return True

    # --- being asked ------------------------------------------------------------------------------

    def hears_leader(self) -> bool:
        """Whether somebody leads the current term and is alive, as far as this node can tell."""
        raft = self._raft
        if raft.role == LEADER:
            return True
        silence = self._now() - self._heard_at
        return bool(raft.leader) and not self._lost_sight and silence < self._timeout_secs

    def _up_to_date(self, last_index: int, last_term: int) -> bool:
        """Raft 5.4.1."""
        raft = self._raft
        return (last_term, last_index) >= (raft.last_term, raft.last_index)

    def _asks_with_better_right(self, peer_id: str, ask: PreVote) -> bool:
        """Of two that ask at once the one with the longer log, then the lower name, goes on; not
        where the other has said no, as it heard the leader still."""
        since, raft = self._asking_since, self._raft
        if since is None or self._now() - since > self._deny_secs or not self._may_stand():
            return False
        if peer_id in self._denied:
            return False
        own, other = (raft.last_term, raft.last_index), (ask.last_term, ask.last_index)
        return own > other or (own == other and raft.node_id < peer_id)

    def pre_vote(self, peer_id: str, ask: PreVote) -> None:
        """Answers; the proposed term is not adopted (A4)."""
        raft = self._raft
        granted = (
            ask.proposed > raft.term
            and not self.hears_leader()
            and self._up_to_date(ask.last_index, ask.last_term)
            and not self._asks_with_better_right(peer_id, ask)
        )
        if granted and self._asking_since is not None:
            self.stop_asking()
            self._again()
        reply = PreVoteReply(raft.term, raft.flag, ask.proposed, granted, raft.uncertain)
        self._post.send(peer_id, reply)

    def pre_vote_reply(self, peer_id: str, reply: PreVoteReply) -> None:
        """Counts who would vote for this node."""
        raft = self._raft
        fresh = self._asking_since is not None and reply.proposed == raft.term + 1
        if not fresh or peer_id not in raft.others or raft.role == LEADER:
            return
        if not reply.granted:
            self._denied.add(peer_id)
            return
        loss = raft.roster.loss_of(peer_id, reply.loss)
        if loss and not reply.uncertain:
            return  # A8
        self._asked[peer_id] = bool(loss)
        if self._enough(self._asked):
            self.stand()

    def vote(self, peer_id: str, ask: Vote) -> None:
        """Answers a candidate of the current term. The vote is on disk before it is sent (A2)."""
        raft = self._raft
        granted = (
            raft.role != LEADER
            and raft.vote in (None, peer_id)
            and not raft.leader
            and self._up_to_date(ask.last_index, ask.last_term)
        )
        if granted:
            raft.give_vote(peer_id)
            self.stop_asking()
            self._rearm()
        reply = VoteReply(raft.term, raft.flag, granted, raft.uncertain)
        self._post.send(peer_id, reply)

    def vote_reply(self, peer_id: str, reply: VoteReply) -> None:
        """Counts a vote of the current term, each member's once."""
        raft = self._raft
        if raft.role != CANDIDATE or not reply.granted or peer_id not in raft.others:
            return
        loss = raft.roster.loss_of(peer_id, reply.loss)
        if loss and not reply.uncertain:
            return  # A8
        self._votes[peer_id] = loss
        self._elected()
