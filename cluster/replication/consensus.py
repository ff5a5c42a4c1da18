"""One member of the group: takes in what the others say, says what this node has to say.

    receive --term first (A4)--> Following | Leading | Elections --> Raft (term, vote, log)
                                                             \\--> Post (waits for the disk)

The driver calls it, once per round: `receive` for each message, `turn`, `send`; `release` when a
flush returned.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog

from cluster.replication.changes import Changes
from cluster.replication.clock import ClusterClock
from cluster.replication.digests import Digests
from cluster.replication.elections import Elections
from cluster.replication.following import Following
from cluster.replication.leading import Leading, Read, StateDiverged
from cluster.replication.messages import (
    Append,
    Diverged,
    Heartbeat,
    Message,
    Newer,
    PreVote,
    PreVoteReply,
    Resigned,
    TimeoutNow,
    Vote,
    VoteReply,
    decode,
)
from cluster.replication.post import Post
from cluster.replication.raft import Raft
from cluster.replication.raft_state import LEADER
from cluster.replication.transfer import Transfer
from taskq.errors import ErrorCode

log = structlog.get_logger(__name__)

# A6: a leader that does not hear a majority steps down after so many election time-outs.
FALLBACK = 1.5
# A4: elections raise the term by one; where a message is so many ahead, a bug or a break-in speaks.
# To use up the terms that a message can tell (63 bits), it would have to be taken 2**31 times.
TERM_LEAP_MAX = 2**32


class Consensus:
    """See the module. `stamps()`: the times (elapsed, wall) of the last applied entry.
    `transmit(peer_id, bytes)`: to the network; whether there was a connection. `flush()` has the
    network write what it was given. `now()`: loop time. `on_lagging(peer_id)`: a follower needs a
    snapshot. `on_members()`: who is a member, or is to be added, has changed, or is committed now.
    `unfit(peer_id)`, `announced(peer_id)`: see `Changes`.
    `leading` is None where this node does not lead."""

    def __init__(
        self,
        raft: Raft,
        clock: ClusterClock,
        digests: Digests,
        *,
        stamps: Callable[[], tuple[int, int]],
        transmit: Callable[[str, bytes], bool],
        now: Callable[[], float],
        rng: random.Random,
        election_timeout_secs: float = 1.0,
        heartbeat_secs: float = 0.3,
        on_lagging: Callable[[str], None] = lambda peer_id: None,
        flush: Callable[[], None] = lambda: None,
        on_members: Callable[[], None] = lambda: None,
        unfit: Callable[[str], str | None] = lambda peer_id: "",
        announced: Callable[[str], str] = lambda peer_id: "",
    ) -> None:
        self.raft = raft
        self._clock = clock
        self._stamps = stamps
        self._digests = digests
        self._now = now
        self._timeout_secs = election_timeout_secs
        self._heartbeat_secs = heartbeat_secs
        self._on_lagging = on_lagging
        self._connected: set[str] = set()
        self.post = Post(raft.journal, transmit, flush)
        self.following = Following(raft, self.post, digests, clock.own_wall_ms)
        self.elections = Elections(raft, self.post, rng, election_timeout_secs, now, self._elected)
        self.leading: Leading | None = None
        self.on_leading_ended: Callable[[], None] = lambda: None
        self.on_term: Callable[[int], None] = lambda term: None
        self.transfer = Transfer(raft, self.post, election_timeout_secs)
        self.changes = Changes(raft, self.transfer, on_members, unfit, announced)
        self._on_members = on_members
        self._told = (0, False)  # the number of the newest set, and whether it was applied

    # --- the inbox --------------------------------------------------------------------------------

    def receive(self, peer_id: str, data: bytes | memoryview) -> None:
        """A message of an authenticated node of this cluster."""
        try:
            message = decode(data)
        except ValueError as error:
            log.error("a message that no node of ours sends", member=peer_id, error=str(error))
            return
        raft = self.raft
        if not _plausible(message, raft.term):
            told = {"member": peer_id, "own_term": raft.term, "term": message.term}
            log.error("a message with terms that no elections give: it is ignored", **told)
            return
        if message.term > raft.term:
            self._adopt(message.term)
        elif message.term < raft.term:
            self._answer_older(peer_id, message)
            return
        self._take(peer_id, message)

    def _adopt(self, term: int) -> None:
        self.raft.adopt_term(term)
        self._begin_term()

    def _begin_term(self) -> None:
        self.elections.stop_asking()
        self._end_leading()
        self.on_term(self.raft.term)

    def _answer_older(self, peer_id: str, message: Message) -> None:
        """A4: requests of a lower term are answered with the higher one, answers are dropped."""
        raft = self.raft
        if isinstance(message, Append | Heartbeat | TimeoutNow | Diverged):
            self.post.send(peer_id, Newer(raft.term, raft.flag))
        elif isinstance(message, Vote):
            self.post.send(peer_id, VoteReply(raft.term, raft.flag, False, raft.uncertain))
        elif isinstance(message, PreVote):
            reply = PreVoteReply(raft.term, raft.flag, message.proposed, False, raft.uncertain)
            self.post.send(peer_id, reply)

    def _take(self, peer_id: str, message: Message) -> None:
        elections = self.elections
        if isinstance(message, Append):
            self._follow(peer_id)
            self.following.append(peer_id, message)
        elif isinstance(message, Heartbeat):
            self._follow(peer_id)
            self.following.heartbeat(peer_id, message)
        elif isinstance(message, PreVote):
            elections.pre_vote(peer_id, message)
        elif isinstance(message, PreVoteReply):
            elections.pre_vote_reply(peer_id, message)
        elif isinstance(message, Vote):
            elections.vote(peer_id, message)
        elif isinstance(message, VoteReply):
            elections.vote_reply(peer_id, message)
        elif isinstance(message, TimeoutNow):
            self._stand_now(peer_id, message)
        elif isinstance(message, Diverged):
            if peer_id == self.raft.leader:
                text = f"this node's state at entry {message.at} is not that of the others"
                raise StateDiverged(text)
        elif isinstance(message, Resigned):
            elections.lost_sight(peer_id)
        elif self.leading is not None:
            self.leading.receive(peer_id, message, self._now())

    def _follow(self, leader: str) -> None:
        self.raft.follow(leader)
        self.transfer.led(leader)
        self.elections.heard_leader()

    def leader_lives(self) -> None:
        """The leader gave a sign of life in another way: a part of a snapshot."""
        if self.raft.leader:
            self.elections.heard_leader()

    # --- leadership -------------------------------------------------------------------------------

    def _elected(self, uncertain: dict[str, int] | None) -> None:
        raft = self.raft
        raft.lead()
        elapsed_ms, wall_ms = self._stamps()
        # What this node counted by itself before is discarded (design section 5).
        self._clock.lead(max(elapsed_ms, self.following.heard.elapsed_ms), wall_ms)
        self.leading = Leading(
            raft,
            self.post,
            self._clock,
            self._digests,
            heartbeat_secs=self._heartbeat_secs,
            fallback_secs=self._timeout_secs * FALLBACK,
            uncertain=uncertain,
            connected=self._connected,
            now=self._now(),
            on_lagging=self._on_lagging,
            learners=self.changes.learners,
        )
        self.transfer.led(raft.node_id)
        log.info("elected", term=raft.term, index=raft.noop_index)

    def _end_leading(self) -> None:
        if self.leading is not None:
            leading, self.leading = self.leading, None
            self.transfer.deposed()
            self.on_leading_ended()
            leading.end()
            self.changes.end()
            self.elections.heard_leader()  # whoever stands now has its time

    def step_down(self) -> None:
        """No majority answers: whoever asks must not believe that this node leads (A6)."""
        self.transfer.give_up(ErrorCode.NO_LEADER, "no majority answers this node")
        self.raft.step_down()
        self._end_leading()

    def judge_disk(self, stuck_secs: float) -> None:
        """A leader whose disk does not answer lets another lead: nothing is acknowledged any more
        while it leads, though it can be heard."""
        if self.leading is not None and self.raft.others and stuck_secs > self._timeout_secs:
            log.warning(
                "the disk does not answer: another node may lead", secs=round(stuck_secs, 1)
            )
            self._resign()
            self.step_down()

    def _resign(self) -> None:
        """The others need not wait until this node has been silent for long enough."""
        if self.leading is not None:
            for peer_id in self.raft.others:
                self.post.send(peer_id, Resigned(self.raft.term, self.raft.flag))
            self.post.flush()

    def end(self) -> None:
        """The driver stopped: nobody waits for this node any more."""
        self._resign()
        self.transfer.give_up(ErrorCode.UNAVAILABLE, "this node stopped")
        self._end_leading()

    def _stand_now(self, leader: str, message: TimeoutNow) -> None:
        """A7: the leader hands over to this node, if its log is the leader's."""
        raft = self.raft
        alike = leader == raft.leader and message.last_index == raft.last_index
        if alike and raft.is_member and not raft.loss:
            self.elections.stand()

    def read(self, reader: Read) -> None:
        """See `Leading.read`."""
        if self.leading is None:
            reader(False)
        else:
            self.leading.read(reader)

    # --- links ------------------------------------------------------------------------------------

    def link_up(self, peer_id: str) -> None:
        """Messages to the peer arrive from now on."""
        self._connected.add(peer_id)
        if self.leading is not None:
            self.leading.link_up(peer_id)

    def link_down(self, peer_id: str) -> None:
        """Messages to the peer do not arrive any more."""
        self._connected.discard(peer_id)
        if self.leading is not None:
            self.leading.link_down(peer_id)
        self.elections.lost_sight(peer_id)

    def silence(self, peer_id: str) -> None:
        """The peer closed the connection on which it speaks."""
        self.elections.lost_sight(peer_id)

    # --- rounds -----------------------------------------------------------------------------------

    def turn(self) -> None:
        """Timers, after the inbox."""
        now = self._now()
        self.transfer.turn(now)
        self.elections.turn()
        leading = self.leading
        if leading is None:
            return
        if not leading.turn(now):
            log.warning("no majority answers: this node leads no more", term=self.raft.term)
            self._resign()  # it may be deaf, not mute
            self.step_down()
            return
        self._become_whole()
        self.changes.turn(leading, now)

    def _become_whole(self) -> None:
        """L4: a majority of sure members, or all, voted for this log, and its no-op is committed:
        without counting this node, unless all voted."""
        raft = self.raft
        if raft.uncertain and raft.is_leader:
            self.following.clear_flag()
        elif not raft.loss:
            raft.own_disk_counts = True

    def send(self) -> None:
        """What the others lack of the log."""
        if self.leading is not None:
            self.leading.send_appends()

    def applied(self) -> None:
        """After entries were applied."""
        self._follow_members()
        if self.leading is not None:
            self.leading.answer_reads(self._now())
            self.transfer.tell(self.leading, self._now())

    def _follow_members(self) -> None:
        """A10: a leader whose removal is committed leads no more; a node whose adding is committed
        keeps the flag that it was added with as its name, and no more: it votes anyway."""
        raft = self.raft
        newest = raft.roster.newest
        now = raft.roster.number, newest.entry <= raft.applied_index
        if now != self._told:
            self._told = now
            self._on_members()
            if now[1] and raft.leader in raft.roster.left():
                self.elections.lost_sight(raft.leader)  # it is not heard any more
        if newest.entry > raft.commit_index:
            return
        if raft.journal.flag and not raft.loss:
            self.following.clear_flag()
        if self.leading is not None and not raft.is_member:
            log.info("this node is no member any more: another one leads", term=raft.term)
            self.leading.beat(self._now())  # the others hear what is committed
            self._resign()
            self.step_down()

    def release(self) -> None:
        """What waited for the disk, and the acknowledgements of what is there now."""
        self.post.release()
        self.following.acknowledge()

    def due(self) -> float:
        """When `turn` has something to do, in loop time."""
        timer = self.elections.deadline if self.leading is None else self.leading.due()
        return min(timer, self.transfer.due())

    @property
    def leads(self) -> bool:
        """Whether this node was elected for the current term; it may not be ready yet."""
        return self.raft.role == LEADER


def _plausible(message: Message, own_term: int) -> bool:
    """A4: whether terms are near this node's, and those of a log in order (Raft 5.3): what has been
    taken over lasts, and nobody can stand after the last term that a message can tell."""
    if message.term > own_term + TERM_LEAP_MAX:
        return False
    if not isinstance(message, Append):
        return True
    terms = [message.prev_term, *(term for term, _ in message.entries), message.term]
    return terms == sorted(terms)
