"""What a member knows of itself: role, term, log, who counts, and what its own disk is worth.

Nothing here changes anything; `Raft` does. PySyncObj keeps some of it under names of its own.
"""

from __future__ import annotations

from pysyncobj import SyncObj
from pysyncobj.node import Node

from cluster.replication.journal import LogJournal
from cluster.replication.roster import Roster
from cluster.storage.flags import MEMBER_FLAG, NON_VOTING_FLAG, UNCERTAIN_FLAG

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2


class RaftState(SyncObj):  # type: ignore[misc]  # PySyncObj is not typed
    """See the module; the part of `Raft` that is only read."""

    node_id: str
    journal: LogJournal
    roster: Roster
    _noop_index = 0  # the entry with which this leader's term began

    # --- role, term and log -----------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """A6: leader, and its own no-op is applied, so that it knows everything before it."""
        state: int = self._SyncObj__raftState
        return state == LEADER and self.raftLastApplied >= self._noop_index

    @property
    def applied_index(self) -> int:
        """Index of the last applied entry."""
        index: int = self.raftLastApplied
        return index

    @property
    def commit_index(self) -> int:
        """Index of the last entry known to be committed."""
        index: int = self.raftCommitIndex
        return index

    @property
    def term(self) -> int:
        """The current term."""
        term: int = self.raftCurrentTerm
        return term

    @property
    def last_index(self) -> int:
        """Index of the last entry of the log, flushed or not."""
        return self.journal.last_index

    @property
    def last_term(self) -> int:
        """Its term; 0 for an empty log, which only the constructor sees."""
        return int(self.journal[-1][2]) if len(self.journal) else 0

    @property
    def role(self) -> int:
        """FOLLOWER, CANDIDATE or LEADER. A leader may not be ready yet: `is_leader`."""
        role: int = self._SyncObj__raftState
        return role

    @property
    def leader(self) -> str:
        """Node id of the leader of the current term, or empty."""
        node: Node | None = self._SyncObj__raftLeader
        return "" if node is None else str(node.id)

    @property
    def vote(self) -> str | None:
        """Who has this node's vote in the current term."""
        vote: str | None = self._SyncObj__votedForNodeId
        return vote

    @property
    def noop_index(self) -> int:
        """The entry with which this leader's term began."""
        return self._noop_index

    def term_at(self, index: int) -> int:
        """The term of an entry; 0 where the log begins later, right after the state."""
        if index == self.journal.last_index:
            return self.last_term
        if index < self.journal.first_index:
            return 0
        return int(self.journal.entries(index, 1)[0][2])

    @property
    def behind(self) -> bool:
        """Whether committed entries on the own disk wait to be applied."""
        return self.applied_index < min(self.commit_index, self.journal.flushed_index)

    # --- the own disk -----------------------------------------------------------------------------

    @property
    def loss(self) -> int:
        """The number of this node's non-voting flag, 0 where it votes (A8), also with the one that
        it was added with; and of whatever disk the members know it by, if that is another (A10)."""
        if not self.is_member:
            return self.journal.flag
        return self.roster.loss_of(self.node_id, self.flag)

    @property
    def flag(self) -> int:
        """What others are told of its disk: that flag, else the one that it was added with."""
        return self.journal.flag or self.journal.flags.get(MEMBER_FLAG, 0)

    @property
    def uncertain(self) -> bool:
        """Whether it votes only where all members vote alike (L4). Who all are is told by the log:
        one that lost a set of members, as is noted outside of it, does not know."""
        flags = self.journal.flags
        unsure = bool(self.loss) and UNCERTAIN_FLAG in flags and NON_VOTING_FLAG not in flags
        return unsure and self._holds_noted()

    def _holds_noted(self) -> bool:
        index, term = self.journal.noted
        if index <= self.applied_index:
            return True
        return index <= self.last_index and self.term_at(index) == term

    # --- members (A10) ----------------------------------------------------------------------------

    @property
    def others(self) -> tuple[str, ...]:
        """The other members."""
        return self.roster.others

    @property
    def majority(self) -> int:
        """So many of all members are one."""
        return self.roster.majority

    @property
    def is_member(self) -> bool:
        """Whether this node is in the newest set of its log: else it neither stands nor counts."""
        return self.roster.is_member

    @property
    def members_settled(self) -> bool:
        """Whether the newest set is committed and applied, and so is an entry of the leader's own
        term: only then may another set be proposed."""
        return self.is_leader and self.roster.newest.entry <= self.applied_index

    @property
    def tellable_index(self) -> int:
        """As leader: entries up to there may be told to others. L4: a set of members counts for
        nobody before this node has it on its disk, and has noted it."""
        newest = self.roster.newest.entry
        return self.last_index if newest <= self.journal.flushed_index else newest - 1
