"""What a follower does with the leader's log (A3; Raft figure 2, AppendEntries receiver)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cluster.replication.digests import Digests
from cluster.replication.messages import Ack, Append, Heartbeat, HeartbeatReply, Reject
from cluster.replication.post import Post
from cluster.replication.raft import Raft
from cluster.storage.flags import MEMBER_FLAG, NON_VOTING_FLAG, UNCERTAIN_FLAG, is_kept


class Heard(NamedTuple):
    """The leader's cluster time as last heard, and in which term."""

    term: int
    elapsed_ms: int


class Following:
    """See the module. `wall_ms()`: this machine's clock, told to the leader in every answer.

    `verified`: the log agrees with that of the leader of the current term up to there, whichever
    way this node came into the term; nothing is known of the log of a term's leader before it has
    spoken. An acknowledgement says how much of that is on disk, so that each one stands for all
    before it."""

    def __init__(
        self, raft: Raft, post: Post, digests: Digests, wall_ms: Callable[[], int]
    ) -> None:
        self._raft = raft
        self._journal = raft.journal
        self._post = post
        self._digests = digests
        self._wall_ms = wall_ms
        self._term = 0  # of the leader whose log was verified
        self._verified = 0
        self.heard = Heard(0, 0)
        self.told_commit = 0  # a leader's commit index: this node may hold less
        self._ack_due = False
        self._acked = 0
        self._clearing = False

    @property
    def verified(self) -> int:
        """See the class; 0 where the leader of this term was not heard yet."""
        return self._verified if self._term == self._raft.term else 0

    def _listen(self, term: int) -> None:
        """The leader of `term`, the current one, speaks."""
        if self._term != term:
            self._term = term
            self._verified = self._acked = 0
            self._ack_due = False

    def append(self, leader: str, append: Append) -> None:
        """Takes over what this log lacks. An acknowledgement follows when it is on disk."""
        self._listen(append.term)
        self._hear(append.term, append.elapsed_ms)
        self.told_commit = max(self.told_commit, append.commit)
        prev = append.prev_index
        if prev > self._journal.last_index:
            self._reject(leader, prev, self._journal.last_index)
            return
        committed = self._raft.commit_index
        if not self._holds(prev, append.prev_term, committed):
            self._reject(leader, prev, committed)
            return
        self._take(prev, append.entries, committed)
        self._verified = max(self._verified, prev + len(append.entries))
        self._ack_due = True
        self._commit(append.commit)

    def _holds(self, index: int, term: int, committed: int) -> bool:
        """Whether this log has the leader's entry at `index`. What is committed is the leader's,
        too (Raft 5.4, leader completeness), also where this log begins later; if it is not, one of
        the two has a bug, and this node stops."""
        if index < self._journal.first_index:
            return True
        held = self._raft.term_at(index)
        if held != term and index <= committed:
            text = f"entry {index} is committed with term {held}, and the leader has term {term}"
            raise AssertionError(text)
        return held == term

    def _take(self, prev: int, entries: list[tuple[int, bytes]], committed: int) -> None:
        journal = self._journal
        held = 0
        for position in range(len(entries)):
            index, term = prev + 1 + position, entries[position][0]
            if index > journal.last_index:
                break
            if not self._holds(index, term, committed):
                # A conflict: truncated in the same batch as the new entries, never below the
                # commit index; the journal asserts it.
                journal.deleteEntriesFrom(index - journal.first_index)
                break
            held = position + 1
        for position in range(held, len(entries)):
            term, command = entries[position]
            journal.add(command, prev + 1 + position, term)

    def _reject(self, leader: str, prev: int, hint: int) -> None:
        raft = self._raft
        self._post.send(leader, Reject(raft.term, raft.flag, prev, hint))

    def _hear(self, term: int, elapsed_ms: int) -> None:
        if term > self.heard.term or elapsed_ms > self.heard.elapsed_ms:
            self.heard = Heard(term, elapsed_ms)

    def _commit(self, committed: int) -> None:
        """Never beyond what was verified in this term."""
        self._raft.commit_to(min(committed, self.verified))

    def heartbeat(self, leader: str, beat: Heartbeat) -> None:
        """Answers; may clear the non-voting flag (A8)."""
        raft = self._raft
        self._listen(beat.term)
        self._hear(beat.term, beat.elapsed_ms)
        self.told_commit = max(self.told_commit, beat.commit)
        self._commit(beat.commit)
        if beat.clear and beat.clear == self._journal.flag and self.verified >= beat.clear_index:
            self.clear_flag()
        reply = HeartbeatReply(
            *(raft.term, raft.flag, beat.round, beat.sent, self.verified, self.match),
            *(self._journal.last_index, raft.applied_index, self._wall_ms(), *self._digests.latest),
        )
        self._post.send(leader, reply)

    def clear_flag(self) -> None:
        """In a batch written after the entry that the leader named, so that the log holds it. From
        now on this is the disk that the members know the node by (A10)."""
        if self._clearing:
            return
        flags = dict(self._journal.flags)
        for one in (NON_VOTING_FLAG, UNCERTAIN_FLAG, MEMBER_FLAG):
            flags.pop(one, None)
        known = self._raft.roster.newest.members.get(self._raft.node_id)
        if known is not None and is_kept(known.flag):
            flags[MEMBER_FLAG] = known.flag
        self._journal.set_flags(flags)
        self._clearing = True

    @property
    def match(self) -> int:
        """Verified and on disk."""
        return min(self.verified, self._journal.flushed_index)

    def acknowledge(self) -> None:
        """Once per round of the driver: tells the leader what has reached the disk."""
        raft = self._raft
        if not self._ack_due or not raft.leader or raft.leader == raft.node_id:
            return
        match = self.match
        if match < self.verified and match == self._acked:
            return  # the flush is under way
        self._ack_due = match < self.verified
        self._acked = match
        self._post.send(raft.leader, Ack(raft.term, raft.flag, match, self._wall_ms()))
