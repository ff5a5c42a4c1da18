"""PySyncObj as our Raft engine, with the parts overridden that would lose acknowledged data.

Each override names the rule it restores (`DESIGN.md`, rules A1-A14) and replaces a whole method of
PySyncObj 0.3.17, pinned; a unit test compares the sources of everything touched here. The class is
driven from outside (`driver.py`): it has no timer, no thread and no queue of its own.

    driver --propose--> log (journal) --flush--> commit --> apply (Applier) --> callback

Terms: an entry's command is one type byte (PySyncObj's) and our entry (`taskq.machine.entry`).
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated, syncobj
from pysyncobj.node import Node

from cluster.replication import command_codec
from cluster.replication.journal import LogJournal
from cluster.replication.transport import NoTransport
from taskq.limits import FRAME_SIZE_MAX, MIB

syncobj.pickle = command_codec  # A1: nothing unpickles

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
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


class LogConflict(Exception):
    """The log and the state tell different histories; see the message."""


def holds_state(journal: LogJournal, index: int, term: int) -> bool:
    """A12: whether the log continues a state at this index, whose last entry has this term.

    False where the log ends before it: after a repair, or when a snapshot was swapped in and the
    node stopped before the log was rebased. A log that starts right after the state continues it,
    too (a repair may leave it so). Raises LogConflict where the log holds another entry there: no
    group of one can come to that, so that two folders were mixed, and nothing is dropped.
    """
    if index <= 1:
        return True
    if not len(journal) or journal.last_index < index:
        return False
    if index < journal.first_index:
        return True
    held: int = journal.entries(index, 1)[0][2]
    if held != term:
        text = f"entry {index} has term {held} in the log and {term} in the state"
        raise LogConflict(f"{text}; do they come from the same folder?")
    return True


class Raft(SyncObj):  # type: ignore[misc]  # PySyncObj is not typed
    """A member of the group; see the module.

    `applied_index`, `applied_terms`: where the state is, the terms of that entry's predecessor and
    of itself. `on_entry(entry)` applies our part of a regular entry and returns its result;
    `on_applied(index, term, result)` follows every entry, after the callback of whoever proposed
    it. Raises LogConflict.
    """

    def __init__(
        self,
        node_id: str,
        journal: LogJournal,
        applied_index: int,
        applied_terms: tuple[int, int],
        on_entry: Callable[[bytes], Any],
        on_applied: Callable[[int, int, Any], None],
    ) -> None:
        self._on_entry = on_entry
        self._on_applied = on_applied
        self._noop_index = 0
        self._journal = journal  # before the constructor, which looks at every attribute
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
        super().__init__(Node(node_id), [], conf, transportClass=NoTransport)
        self._adopt(journal, applied_index, applied_terms)

    def _adopt(self, journal: LogJournal, applied_index: int, terms: tuple[int, int]) -> None:
        """A12: the log on disk takes the place of the one that the constructor made; what the state
        covers counts as applied and committed; no dump file is ever looked for."""
        self._SyncObj__raftLog = journal
        if not holds_state(journal, applied_index, terms[1]):
            # The state has all that the log held; entries above would be numbered twice.
            before, last = (NO_OP, applied_index - 1, terms[0]), (NO_OP, applied_index, terms[1])
            journal.rebase([before, last], terms[1])
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

    # --- what the driver asks ---------------------------------------------------------------------

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
    def behind(self) -> bool:
        """Whether committed entries on the own disk wait to be applied."""
        ready = min(self.commit_index, self._journal.flushed_index)
        return self.applied_index < ready

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
        index: int = self._journal.last_index
        return index

    def _applyCommand(  # noqa: N802  # PySyncObj's name
        self,
        command: bytes,
        callback: Callback,
        commandType: int | None = None,  # noqa: N803
    ) -> None:
        """A4, A6: appends at once, as leader only. PySyncObj would queue, and at step-down forward
        the queue with stale stamps; forwarding is ours, before an entry is made."""
        assert self._SyncObj__raftState == LEADER, "only a leader proposes"
        assert commandType is None, "regular commands only"
        index, term = self._journal.last_index + 1, self.term
        self._journal.add(command, index, term)
        self._SyncObj__commandsWaitingCommit[index].append((term, callback))

    # --- elections --------------------------------------------------------------------------------

    def stand(self) -> None:
        """A5: stands for election, outside `doTick`. Term, vote and no-op are in the journal and
        must be flushed before the next tick (A2). In a group of one the own vote is a majority."""
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(CANDIDATE)
        self._SyncObj__setCurrentTerm(self.term + 1, self._SyncObj__selfNode.id)
        self._SyncObj__votesCount = 1
        if self._SyncObj__votesCount > (len(self._SyncObj__otherNodes) + 1) / 2:
            self._SyncObj__onBecomeLeader()
            self._noop_index = self._SyncObj__noopIDx

    # --- the tick ---------------------------------------------------------------------------------

    def _onTick(self, timeToWait: float = 0.0) -> None:  # noqa: N802, N803  # PySyncObj's name
        """A2, A5: commits and applies, nothing else. No election timer, no queue, no compaction, no
        dump file, no poll: those are the driver's, or not used."""
        if self._SyncObj__raftState == LEADER:
            self._advance_commit()
        self._SyncObj__applyLogEntries()

    def _advance_commit(self) -> None:
        """A2 (Raft figure 2, leaders): the own node counts up to its flushed index only; an entry
        of an older term is committed only by one of this term above it."""
        held = [self._journal.flushed_index]
        held += [self._SyncObj__raftMatchIndex[node] for node in self._SyncObj__otherNodes]
        held.sort(reverse=True)
        index = held[len(held) // 2]
        if index <= self.commit_index or self._journal.entries(index, 1)[0][2] != self.term:
            return
        self._SyncObj__raftCommitIndex = index
        self._journal.setRaftCommitIndex(index)
        self._SyncObj__leaderCommitIndex = index

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        """A1, A2: applies committed entries that are on the own disk, for a bounded time. An
        exception is a bug and stops the node; PySyncObj would try again for ever."""
        started = monotonic()
        waiting = self._SyncObj__commandsWaitingCommit
        spent = False
        while self.behind and not spent:
            ready = min(self.commit_index, self._journal.flushed_index) - self.applied_index
            first = self.applied_index + 1
            for command, index, term in self._journal.entries(
                first, min(ready, _APPLY_COUNT), _APPLY_SIZE
            ):
                if command[:1] not in (REGULAR, NO_OP):
                    raise AssertionError(f"entry {index} has type {command[:1]!r}; known: 0, 1")
                result = self._SyncObj__doApplyCommand(command)
                self._SyncObj__raftLastApplied = index
                for proposed_term, callback in waiting.pop(index, ()):
                    callback(result, proposed_term == term)
                self._on_applied(index, term, result)
                spent = monotonic() - started >= _APPLY_SECS
                if spent:
                    break
        self._journal.forget_applied(self.applied_index)
        return False


assert FAIL_REASON.SUCCESS == 0  # the package is the one that we pinned
