"""What a leader does: sends its log and signs of life, counts what the others hold (A3, A6, A8).

    propose --> append to each peer (each entry once) --> acknowledgements --> commit (Raft)
    heartbeat n --> answers n: still the leader (reads), clocks, non-voting flags, digests

Exists only while this node leads; a new term makes a new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import inf

import structlog

from cluster.replication.clock import ClusterClock
from cluster.replication.digests import Digests
from cluster.replication.followers import Followers
from cluster.replication.majority import reached_by
from cluster.replication.messages import (
    Ack,
    Append,
    Diverged,
    Heartbeat,
    HeartbeatReply,
    Message,
    Reject,
    encode,
)
from cluster.replication.post import Post
from cluster.replication.progress import Progress, Stage
from cluster.replication.raft import Raft
from taskq.limits import MIB

log = structlog.get_logger(__name__)

# One append, at most (a single entry may be larger).
APPEND_SIZE_MAX = 4 * MIB
APPEND_COUNT_MAX = 512
# What was committed is told with the next append, or where there is none, so much later. Seconds.
TELL_SECS = 0.01

# Called with true when the state may be read, false when this node leads no more.
Read = Callable[[bool], None]


class StateDiverged(Exception):
    """This node's state differs from that of the other members (A14)."""


class Leading:
    """See the module. `connected`: peers with a connection. `uncertain`: where all members voted
    for this node, the flags (by peer) of those that count in its term all the same (L4); None where
    not all did. `on_lagging(peer_id)`: the log does not reach back to what the peer needs.

    `peers`: the other members of the newest set, by id; beside them nodes that count for nothing
    (A10): `learners()`, which are to be added, and those that were removed, until they know."""

    def __init__(
        self,
        raft: Raft,
        post: Post,
        clock: ClusterClock,
        digests: Digests,
        *,
        heartbeat_secs: float,
        fallback_secs: float,
        uncertain: Mapping[str, int] | None,
        connected: Iterable[str],
        now: float,
        on_lagging: Callable[[str], None],
        learners: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._raft = raft
        self._journal = raft.journal
        self._post = post
        self._clock = clock
        self._digests = digests
        self._heartbeat_secs = heartbeat_secs
        self._fallback_secs = fallback_secs
        self._uncertain = uncertain or {}
        self._on_lagging = on_lagging
        self._followers = Followers(raft, learners, connected, now)
        self.peers = self._followers.peers
        self._heard_at = now
        self._round = 0
        self._beat_at = now  # when the next heartbeat is due
        self._committed = (raft.commit_index, now)  # and when it was found so
        self._reads: deque[tuple[int, int, Read]] = deque()  # (round, commit index, reader)
        self._confirmed: deque[tuple[int, Read]] = deque()  # (commit index, reader)
        self._round_due = False
        self.differing: dict[str, int] = {}  # peer -> the index at which its state first differed
        self._agreeing: set[str] = set()  # peers whose state is the same as this node's
        raft.own_disk_counts = uncertain is not None or not raft.loss
        raft.held_by_others = self._held
        clock.reached = self._wall_reached

    # --- who counts -------------------------------------------------------------------------------

    def _counts(self, peer_id: str) -> bool:
        """A10: those of a node that is no member count for nothing. A8: neither do those of a
        non-voting one. L4: where all voted, their leader's log holds whatever any of them held."""
        if peer_id not in self._raft.others:
            return False
        loss = self.peers[peer_id].loss
        return not loss or loss == self._uncertain.get(peer_id)

    def _counting(self) -> list[Progress]:
        return [peer for one, peer in self.peers.items() if self._counts(one)]

    def _held(self) -> list[int]:
        return [peer.match for peer in self._counting()]

    def voting(self) -> list[str]:
        """Other members that count and were heard lately."""
        now = self._heard_at
        near = [one for one, peer in self.peers.items() if peer.connected and self._counts(one)]
        return [one for one in near if now - self.peers[one].heard_at <= self._fallback_secs]

    def _wall_reached(self, own_ms: float) -> float:
        """What the clocks of a majority of all members have reached."""
        raft = self._raft
        walls = [self.peers[one].wall_ms for one in raft.others]
        reached = [float(one) for one in walls if one is not None]
        return reached_by(raft.majority, [*reached, own_ms] if raft.is_member else reached, -inf)

    def follow_members(self, now: float) -> None:
        """Once per round, and after every change: `peers` are those of the newest set."""
        for one in self._followers.follow(now):
            self._forget(one)

    def _forget(self, peer_id: str) -> None:
        self.differing.pop(peer_id, None)
        self._agreeing.discard(peer_id)

    def _answered(self) -> int:
        """The newest round that a majority has answered, this node included."""
        rounds = [peer.round for peer in self._counting()]
        if self._raft.own_disk_counts and self._raft.is_member:
            rounds.append(self._round)
        return int(reached_by(self._raft.majority, rounds, 0))

    # --- sending ----------------------------------------------------------------------------------

    def send_appends(self) -> None:
        """Once per round: what the peers lack, as far as it may be on its way."""
        if not self._post.clear:
            return
        last = self._raft.tellable_index
        encoded: dict[int, tuple[bytes, int, int]] = {}
        for peer_id, peer in self.peers.items():
            while peer.may_send(last) and peer.next_index <= last + 1:
                start = peer.next_index
                if start <= self._journal.base_index:
                    peer.stage = Stage.SNAPSHOT
                    self._on_lagging(peer_id)
                    break
                if start not in encoded:
                    encoded[start] = self._encode(start, last)
                data, end, size = encoded[start]
                if not self._post.send_encoded(peer_id, data):
                    break
                peer.sent(end, size)
                peer.told_commit = self._raft.commit_index

    def _encode(self, start: int, last: int) -> tuple[bytes, int, int]:
        raft = self._raft
        count = min(APPEND_COUNT_MAX, last + 1 - start)
        held = self._journal.entries(start - 1, count + 1, APPEND_SIZE_MAX)
        (_, prev, prev_term), *found = held
        if count and not found:  # the entry before it fills an append by itself
            found = self._journal.entries(start, 1)
        append = Append(
            *(raft.term, raft.flag, prev, prev_term, raft.commit_index, self._clock.elapsed_ms),
            [(term, command) for command, _, term in found],
        )
        return encode(append), prev + len(found), sum(len(command) for command, _, _ in found)

    def beat(self, now: float) -> None:
        """A round of heartbeats to everybody who can be reached."""
        raft, elapsed = self._raft, self._clock.elapsed_ms
        self._round += 1
        self._round_due = False
        self._beat_at = now + self._heartbeat_secs
        for peer_id, peer in self.peers.items():
            if not peer.connected:
                continue
            named = peer.named if peer.loss and raft.commit_index >= peer.named else 0
            if peer_id not in raft.others:
                named = 0
            beat = Heartbeat(
                *(raft.term, raft.flag, self._round, peer.sent_index, raft.commit_index),
                *(elapsed, peer.loss if named else 0, named),
            )
            self._post.send(peer_id, beat)
            peer.asked(self._round)
            peer.told_commit = raft.commit_index

    def turn(self, now: float) -> bool:
        """Once per round of the driver, after the inbox: heartbeats that are due.
        False where no majority was heard for too long: this node must step down (A6)."""
        self._heard_at = now
        self.follow_members(now)
        if now >= self.due() or self._round_due:
            self.beat(now)
        heard = [peer.heard_at for peer in self._counting()]
        if self._raft.is_member:
            heard.append(now)
        return now - reached_by(self._raft.majority, heard, 0.0) <= self._fallback_secs

    def due(self) -> float:
        """When `turn` has something to do, in loop time."""
        commit, since = self._committed
        told = min(
            (one.told_commit for one in self.peers.values() if one.connected), default=commit
        )
        if told < self._raft.noop_index <= commit:
            return since  # at once: from now on the others may send it their requests
        return min(since + TELL_SECS, self._beat_at) if told < commit else self._beat_at

    # --- answers ----------------------------------------------------------------------------------

    def receive(self, peer_id: str, message: Message, now: float) -> None:
        """An answer of the current term."""
        peer = self.peers.get(peer_id)
        if peer is None:
            return  # answered like everybody (A4), and counted as nobody
        peer.heard_at = now
        self._note_loss(peer_id, peer, message.loss)
        if isinstance(message, Ack):
            peer.wall_ms = message.wall_ms
            peer.acknowledged(message.match)
        elif isinstance(message, Reject):
            peer.rejected(message.prev_index, message.hint)
        elif isinstance(message, HeartbeatReply):
            peer.wall_ms = message.wall_ms
            peer.round = max(peer.round, message.round)
            peer.applied = message.applied
            self._note_end(peer_id, peer, message.last)
            peer.acknowledged(message.match)
            peer.missed(message.sent, message.verified, message.last, answers=message.round)
            self._compare(peer_id, message)

    def _note_loss(self, peer_id: str, peer: Progress, flag: int) -> None:
        """A8: a flag that was not heard before: nothing that the peer acknowledged counts, and what
        it has to hold before it counts again is an entry proposed now. An older disk of it (A10)
        never does: there is no flag to clear."""
        loss = self._raft.roster.loss_of(peer_id, flag)
        if loss == peer.loss:
            return
        peer.loss = loss
        if peer_id not in self._raft.others:
            # No member yet, or any more: nothing to win back but the log (A10).
            if loss:
                peer.forget(self._journal.last_index + 1)
        elif loss and not flag:
            log.error(
                "a member came with an older disk than the one that it was added with: it counts"
                " for nothing; empty its data folder",
                member=peer_id,
            )
            peer.forget(self._journal.last_index + 1)
            peer.named = 0
        elif loss:
            log.warning(
                "a member lost its log: it counts for nothing until it is whole", member=peer_id
            )
            peer.forget(self._journal.last_index + 1)
            peer.named = self._raft.propose_no_op()
        else:
            log.info("a member is whole again", member=peer_id)

    def _note_end(self, peer_id: str, peer: Progress, last: int) -> None:
        """Messages of a peer come in order: a log that ends before what was acknowledged has lost
        it, and the node could not tell (the end went bad at rest, and then a power cut made its
        witness older, L4). It gets all of it again."""
        if last < peer.match:
            log.critical(
                "a member's disk lost what it had synced: its log is filled again",
                member=peer_id,
                acknowledged=peer.match,
                ends_at=last,
            )
            peer.forget(last + 1)

    def _compare(self, peer_id: str, reply: HeartbeatReply) -> None:
        """A14: equal entries must have written the same. Nobody is told to stop before most members
        agree on who differs: it may be this node. Whoever stops gives up its state, so that only
        those are asked who could go on without it: members that count."""
        index = reply.digest_index
        own = self._digests.of(index)
        if own is None:
            return
        if own == reply.digest:
            self._agreeing.add(peer_id)
            self.differing.pop(peer_id, None)
            return
        self._agreeing.discard(peer_id)
        if peer_id not in self.differing:
            self.differing[peer_id] = index
            log.critical("a member's state differs", member=peer_id, index=index)
        if sum(map(self._counts, self.differing)) >= self._raft.majority:
            text = f"this node's state at entry {index} differs from that of most members"
            raise StateDiverged(text)
        if self._raft.is_member + sum(map(self._counts, self._agreeing)) >= self._raft.majority:
            self._post.send(peer_id, Diverged(self._raft.term, self._raft.flag, index))

    # --- links ------------------------------------------------------------------------------------

    def link_up(self, peer_id: str) -> None:
        """Messages reach the peer from now on; what was sent before may be lost."""
        self._followers.link_up(peer_id)
        self._forget(peer_id)

    def link_down(self, peer_id: str) -> None:
        """What is on its way may be lost. The peer may come back as another process, with a state
        that was given to it."""
        self._followers.link_down(peer_id)
        self._forget(peer_id)

    # --- snapshots --------------------------------------------------------------------------------

    def installed(self, peer_id: str, index: int) -> None:
        """The peer has a state at `index`; 0: it was not given one, and is compared again."""
        peer = self.peers.get(peer_id)
        if peer is not None and peer.stage is Stage.SNAPSHOT:
            peer.probe(index + 1 if index else peer.match + 1)

    # --- reads (A6) -------------------------------------------------------------------------------

    def read(self, reader: Read) -> None:
        """Calls the reader when the state shows everything that was acknowledged before now."""
        raft = self._raft
        if raft.is_leader and raft.is_member and not raft.others:
            reader(True)
            return
        index = max(raft.commit_index, raft.noop_index)
        self._reads.append((self._round + 1, index, reader))
        self._round_due = True

    def answer_reads(self, now: float) -> None:
        """After a tick: lets those read that may now."""
        if self._raft.commit_index > self._committed[0]:
            self._committed = (self._raft.commit_index, now)
        if self._reads:
            answered = self._answered()
            while self._reads and self._reads[0][0] <= answered:
                _, index, reader = self._reads.popleft()
                self._confirmed.append((index, reader))
        while self._confirmed and self._confirmed[0][0] <= self._raft.applied_index:
            self._confirmed.popleft()[1](True)

    def end(self) -> None:
        """This node leads no more."""
        self._raft.held_by_others = list
        self._clock.reached = lambda own_ms: -inf
        readers = [reader for _, reader in self._confirmed]
        readers += [reader for _, _, reader in self._reads]
        self._confirmed.clear()
        self._reads.clear()
        for reader in readers:
            reader(False)
