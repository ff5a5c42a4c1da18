"""PySyncObj as our Raft engine, with the parts overridden that would lose acknowledged data.

Each override names the rule it restores (`DESIGN.md`, rules A1-A14) and replaces a whole method of
PySyncObj 0.3.17, pinned; a unit test compares the sources of everything touched here. The class is
driven from outside (`driver.py`): it has no timer, no thread and no queue of its own. It knows
term, vote, log, what is committed and applied; what members tell each other is `consensus.py`.

    driver --propose--> log (journal) --flush--> commit --> apply (Applier) --> callback

Terms: an entry's command is one type byte (PySyncObj's) and our entry (`taskq.machine.entry`), or a
set of members (`voters.py`): who counts here is always the newest of the log (A10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from pysyncobj import FAIL_REASON, SyncObjConf, replicated, syncobj
from pysyncobj.node import Node

from cluster.replication import command_codec
from cluster.replication.build import OtherVersionNeeded
from cluster.replication.continuation import LogConflict, holds_state
from cluster.replication.journal import STAND_IN, LogJournal
from cluster.replication.majority import reached_by
from cluster.replication.raft_state import CANDIDATE, FOLLOWER, LEADER, RaftState
from cluster.replication.roster import Roster
from cluster.replication.transport import Courier
from cluster.replication.voters import MEMBERS, Voter, Voters, decode_entry, encode_entry
from taskq.limits import FRAME_SIZE_MAX, MIB

syncobj.pickle = command_codec  # A1: nothing unpickles

REGULAR, NO_OP = b"\0", b"\1"

# A5: PySyncObj's own timers are out of reach; the driver owns them. Seconds.
_NEVER = 1e9
# A1: larger than any entry, because an entry near a multiple of it is sent cut.
_BATCH_SIZE = FRAME_SIZE_MAX + MIB
# One tick applies for about so long (at least one entry): then answers go out and sockets are
# read, so that clients work while the next entries are applied. Seconds.
_APPLY_SECS = 0.002
_APPLY_COUNT = 64
_APPLY_SIZE = 4 * MIB

# Called with (result of apply, whether it was applied as proposed).
Callback = Callable[[Any, bool], None]


class Raft(RaftState):
    """A member of the group; see the module.

    `roster`: the members in the state; those in the log are taken from there. `applied_index`,
    `applied_terms`: where the state is, the terms of that entry's predecessor and of itself.
    `on_entry(entry)` applies our part of a regular entry and returns its result;
    `on_voters(voters)` applies a membership entry; `on_applied(index, term, result)` follows every
    entry, after the callback of whoever proposed it. `in_group`: it may have been given a state
    by others. `clock`: seconds. Raises LogConflict.
    """

    def __init__(
        self,
        node_id: str,
        journal: LogJournal,
        applied_index: int,
        applied_terms: tuple[int, int],
        on_entry: Callable[[bytes], Any],
        on_applied: Callable[[int, int, Any], None],
        *,
        roster: Roster,
        on_voters: Callable[[Voters], None] = lambda voters: None,
        in_group: bool = True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._on_entry = on_entry
        self._on_voters = on_voters
        self.in_group = in_group
        self._on_applied = on_applied
        self._clock = clock
        self.node_id = node_id
        self.roster = roster
        self.journal = journal  # before the constructor, which looks at every attribute
        # What `_advance_commit` counts beside this node: set by whoever leads (`leading.py`).
        self.held_by_others: Callable[[], list[int]] = list
        conf = SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=True,  # no pipe, no send per command: the driver decides
            appendEntriesBatchSizeBytes=_BATCH_SIZE,
            raftMinTimeout=_NEVER,
            raftMaxTimeout=2 * _NEVER,
            connectionTimeout=3 * _NEVER,
            commandsWaitLeader=False,
            dynamicMembershipChange=False,
        )
        # Whom PySyncObj takes for the others is of no account: counting and sending are ours.
        super().__init__(Node(node_id), [], conf, transportClass=Courier)
        self._adopt(journal, applied_index, applied_terms)
        roster.read(journal, applied_index)

    def _adopt(self, journal: LogJournal, applied_index: int, terms: tuple[int, int]) -> None:
        """A12: the log on disk takes the place of the one that the constructor made; what the state
        covers counts as applied and committed; no dump file is ever looked for."""
        self._SyncObj__raftLog = journal
        if not self._continues(journal, applied_index, terms[1]):
            # The state has all that the log held; entries above would be numbered twice.
            indices = zip((applied_index - 1, applied_index), terms, strict=True)
            journal.rebase([(STAND_IN, index, term) for index, term in indices], terms[1])
        elif len(journal) == 0:
            journal.add(NO_OP, 1, 0)
        term = max(journal.getCurrentTerm(), journal[-1][2])
        self._SyncObj__raftCurrentTerm = term
        self._SyncObj__votedForNodeId = journal.getVotedForNodeId()
        self._SyncObj__needLoadDumpFile = False
        # Entry 1 is PySyncObj's own first no-op: applied by definition, in every log.
        self._SyncObj__raftLastApplied = max(applied_index, 1)
        # The commit index on disk is advisory: the log may have been cut behind it.
        commit = min(journal.getRaftCommitIndex(), journal.last_index)
        self._SyncObj__raftCommitIndex = max(commit, applied_index, 1)
        journal.setRaftCommitIndex(self._SyncObj__raftCommitIndex)

    def _continues(self, journal: LogJournal, index: int, term: int) -> bool:
        """Whether the log goes on from the state. An unverified tail of a node that was given a
        snapshot may hold another entry there, and is dropped; a group of one is given none, so that
        two folders were mixed: LogConflict."""
        try:
            return holds_state(journal, index, term)
        except LogConflict:
            if not self.in_group:
                raise
            return False

    # --- A1: one replicated method, whose argument is the entry ----------------------------------

    @replicated  # type: ignore[untyped-decorator]
    def apply(self, entry: bytes) -> Any:
        """Applies an entry. Never called by us to propose: see `propose`."""
        return self._on_entry(entry)

    # --- proposals --------------------------------------------------------------------------------

    def propose(self, entry: bytes, callback: Callback) -> int:
        """Appends an entry of ours to the leader's log; its index. It is committed after a flush.

        `callback(result, applied)` is called once, when an entry with this index is applied:
        `applied` is false where another leader's entry took its place.
        """
        self._applyCommand(REGULAR + entry, callback)
        return self.last_index

    def _applyCommand(  # noqa: N802  # PySyncObj's name
        self,
        command: bytes,
        callback: Callback,
        commandType: int | None = None,  # noqa: N803
    ) -> None:
        """A4, A6: appends at once, as leader only. PySyncObj would queue, and at step-down forward
        the queue with stale stamps; forwarding is ours, before an entry is made."""
        assert self.role == LEADER, "only a leader proposes"
        assert commandType is None, "regular commands only"
        index, term = self.journal.last_index + 1, self.term
        self.journal.add(command, index, term)
        self._SyncObj__commandsWaitingCommit[index].append((term, callback))

    def propose_no_op(self) -> int:
        """Appends an entry that changes nothing, as leader; its index."""
        assert self.role == LEADER, "only a leader proposes"
        self.journal.add(NO_OP, self.last_index + 1, self.term)
        return self.last_index

    def propose_members(self, members: Mapping[str, Voter]) -> int:
        """Appends a membership entry, as leader; its index. It counts from now on."""
        assert self.members_settled, "one change of members at a time"
        self.journal.add(encode_entry(members), self.last_index + 1, self.term)
        return self.last_index

    def forget_proposals(self) -> None:
        """Nobody waits any more for what this node proposed."""
        self._SyncObj__commandsWaitingCommit.clear()

    # --- term and role ----------------------------------------------------------------------------

    def adopt_term(self, term: int) -> None:
        """A4 (Raft 5.1): a higher term was seen. On disk before anybody hears of it (A2)."""
        assert term > self.term
        self._SyncObj__setCurrentTerm(term, None)
        self.step_down()

    def step_down(self) -> None:
        """A follower without a leader."""
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(FOLLOWER)

    def follow(self, leader: str) -> None:
        """That node leads the current term."""
        if self.leader != leader:
            assert self.role != LEADER, f"{leader} and this node lead term {self.term}"
            self._SyncObj__raftLeader = Node(leader)
        self._SyncObj__setState(FOLLOWER)

    def give_vote(self, candidate: str) -> None:
        """On disk before the candidate hears of it (A2)."""
        assert self.vote in (None, candidate), f"a second vote in term {self.term}"
        if self.vote is None:
            self._SyncObj__setCurrentTerm(self.term, candidate)

    def stand(self) -> None:
        """A5: stands for election, outside `doTick`. Term and vote must be flushed before anybody
        is asked (A2)."""
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(CANDIDATE)
        self._SyncObj__setCurrentTerm(self.term + 1, self.node_id)

    def lead(self) -> None:
        """Elected. The no-op is in the journal; until it is applied, this node proposes nothing,
        answers nothing and runs no monitors (A6)."""
        assert self.role == CANDIDATE
        self._SyncObj__onBecomeLeader()
        self._noop_index = self._SyncObj__noopIDx

    @property
    def noop_index(self) -> int:
        """The entry with which this leader's term began."""
        return self._noop_index

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802
        """A3: sending is `leading.py`'s, in the same round of the driver."""

    def _SyncObj__onMessageReceived(self, node: Node, message: Any) -> None:  # noqa: N802
        """A4: receiving is `consensus.py`'s. PySyncObj's transport is not used."""
        raise AssertionError(f"{node} sent PySyncObj a message")

    # --- the tick ---------------------------------------------------------------------------------

    def _onTick(self, timeToWait: float = 0.0) -> None:  # noqa: N802, N803  # PySyncObj's name
        """A2, A5: commits and applies, nothing else. No election timer, no queue, no compaction, no
        dump file, no poll: those are the driver's, or not used."""
        if self._SyncObj__raftState == LEADER:
            self._advance_commit()
        self._SyncObj__applyLogEntries()

    def _advance_commit(self) -> None:
        """A2 (Raft figure 2, leaders): the own node counts up to its flushed index only; an entry
        of an older term is committed only by one of this term above it; and nothing by a set of
        members that is not told yet (L4)."""
        if self.tellable_index < self.last_index:
            return
        held = self.held_by_others()
        if self.own_disk_counts and self.is_member:
            held.append(self.journal.flushed_index)
        index = int(reached_by(self.majority, held, 0))
        if index > self.commit_index and self.term_at(index) == self.term:
            self.commit_to(index)

    # A8: an uncertain leader that not all voted for does not count itself.
    own_disk_counts = True

    def commit_to(self, index: int) -> None:
        """Entries up to `index` are known to be committed; never fewer than before."""
        if index > self.commit_index:
            self._SyncObj__raftCommitIndex = index
            self.journal.setRaftCommitIndex(index)
            self._SyncObj__leaderCommitIndex = index

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        """A1, A2: applies committed entries that are on the own disk, for a bounded time. An
        exception is a bug and stops the node; PySyncObj would try again for ever."""
        started = self._clock()
        waiting = self._SyncObj__commandsWaitingCommit
        spent = False
        while self.behind and not spent:
            ready = min(self.commit_index, self.journal.flushed_index) - self.applied_index
            first = self.applied_index + 1
            for command, index, term in self.journal.entries(
                first, min(ready, _APPLY_COUNT), _APPLY_SIZE
            ):
                result = self._apply_one(index, command)
                self._SyncObj__raftLastApplied = index
                for proposed_term, callback in waiting.pop(index, ()):
                    callback(result, proposed_term == term)
                self._on_applied(index, term, result)
                spent = self._clock() - started >= _APPLY_SECS
                if spent:
                    break
        self.journal.forget_applied(self.applied_index)
        return False

    def _apply_one(self, index: int, command: bytes) -> Any:
        """What our part made of an entry; None for no-ops and sets of members."""
        if command[:1] == MEMBERS:
            self._on_voters(Voters(index, decode_entry(command)))
            return None
        if command[:1] not in (REGULAR, NO_OP):
            raise OtherVersionNeeded(f"entry {index} is of kind {command[:1]!r}; known: 0, 1, 4")
        return self._SyncObj__doApplyCommand(command)


assert FAIL_REASON.SUCCESS == 0  # the package is the one that we pinned
