"""Nodes that may have lost the end of their logs, for their witness cannot be read (L4, A8, A10).

The rule: such a node is uncertain, with a flag numbered for each opening. Its vote counts only
where all members vote for the same candidate; in that leader's term the acknowledgements of those
that were uncertain when they voted count, as long as they bear the flag that they voted with. The
flag is cleared as in A8: when the node holds an entry that the leader proposed after hearing this
very flag, and that is committed; the leader's own, when its no-op is committed. Who all are is told
by the log (A10): so a node notes outside of it, before its log has it, that there is a newer set;
its vote counts for nothing while it is uncertain and its log lacks that set; and a leader commits
nothing by a set, and tells nobody of it, before it has noted it.

State: three nodes (term, log, flag, whether the end is really lost; of a leader who voted and under
which flag, the flags heard with the entry named for each, and its commit index), who led each term
and what was committed. An election is one step, as in `nonvoting.py`, and an acknowledgement counts
in the step in which it is heard: with the leader it is a majority. An entry is its term and the
number of ends not lost yet, for a leader that lost its end may make another one in the same term,
and whether it adds node 2. A lost end is any number of entries, with later terms and votes, but not
what was noted. A link may be silent for ever: a step not taken.

Bound: terms up to 3, one opening without a witness, in which an end may be lost. It begins with one
leader and an entry that only two nodes hold; with three uncertain nodes after a power cut, of which
one has lost that entry; with a leader of term 2 that all voted for, node 1 as uncertain; and with a
leader of two nodes, whose last entry only node 2 has as well, which is to be added (terms up to 2).

No term has two leaders; what was committed is never replaced by another entry; and with all nodes
up a leader can commit, unless one of them lost the newest set that it noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple, TypeVar

from chaos.models.explore import Broken, Step

V = TypeVar("V")
Entry = tuple[int, int, bool]
Log = tuple[Entry, ...]

TERM_MAX = 3
TERM_MAX_ADDING = 2
OPENINGS = 1
ENDS = 1
NODES = range(3)
NEWCOMER = 2
MAJORITY = 2  # of three, and of two
NOTHING_NAMED = ((0, 0),) * len(NODES)


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    VOTES_COUNT = "votes of uncertain nodes count towards a majority"
    ALL_BUT_ONE = "all means all that can be reached: who is silent is left out"
    ACKS_COUNT = "acknowledgements of uncertain nodes count for a leader that not all voted for"
    ACKS_BY_NAME = "where all voted alike every flag counts, also one of after the vote"
    FLAG_WITHOUT_NUMBER = "the flag of a second opening looks like the first"
    ONCE_FOR_ALL = "who took part where all voted alike counts in later elections, too"
    CLEARED_AT_VOTE = "the flag is cleared when all have voted alike"
    CLEARED_UNCOMMITTED = "the flag is cleared when the entry named is held, committed or not"
    CLEARED_BY_NO_OP = "the no-op with which the term began clears every flag"
    FLAG_FORGOTTEN = "the flag is not kept over a restart"
    NOT_MARKED = "a log that shows no damage goes on voting without its witness"
    MAJORITY_LOST = "a majority loses its end at once"
    NEVER_COUNTS = "votes of uncertain nodes never count, not even where all vote alike"
    ACKS_NEVER_COUNT = "acknowledgements of uncertain nodes do not count where all voted alike"
    LOG_ALONE = "all are the set that is left in the log, whatever the node has noted"
    COMMITS_UNNOTED = "a leader commits by a set that it has not noted yet"
    TELLS_UNNOTED = "a leader tells the others a set that it has not noted yet"


class Node(NamedTuple):
    """`flag` is 0 where the node is certain; `torn`: its end is lost, and not made good yet;
    `noted`: it knows outside of its log that node 2 was to be added, and its log is on disk.

    The last three are of a leader: who voted, under which flag, None for who did not; the flag
    heard of each, with the entry proposed upon it; the commit index.
    """

    term: int
    log: Log
    flag: int = 0
    torn: bool = False
    noted: bool = False
    leads: bool = False
    votes: tuple[int | None, ...] = ()
    named: tuple[tuple[int, int], ...] = ()
    commit: int = 0


class State(NamedTuple):
    """The nodes, who led each term, what was committed, the faults left, who are members before
    anybody is added, and (one wording only) who took part where all voted alike."""

    nodes: tuple[Node, ...]
    leaders: tuple[int | None, ...]
    committed: Log
    openings: int
    ends: int
    founders: tuple[int, ...] = tuple(NODES)
    agreed: frozenset[tuple[int, int]] = frozenset()


class Model:
    """Elections, replication, and what an unreadable witness may have cost."""

    milestones = frozenset(
        {"open", "lose", "restart", "lead", "lead by all", "hear", "clear", "clear own"}
        | {"commit", "replicate", "add", "note"}
    )

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        more = wording is Wording.MAJORITY_LOST
        self.openings = OPENINGS + wider + more
        self.ends = ENDS + more

    def initial(self) -> Iterator[State]:
        """See the bound."""
        long, short = ((1, 0, False), (1, 0, False)), ((1, 0, False),)
        none = (None,) * (TERM_MAX - 2)
        one = (None, 0, None, *none)
        cut = Node(1, short, 1, torn=True), Node(1, long, 2), Node(1, short, 3)
        yield State(cut, one, long, 0, 0)
        if self.wording in (Wording.NEVER_COUNTS, Wording.ACKS_NEVER_COUNT):
            return  # they stand still in there, which needs the whole space to tell
        leader = Node(1, long, 0, False, False, True, (0, 0, None), NOTHING_NAMED, 2)
        nodes = leader, Node(1, long), Node(1, short)
        yield State(nodes, one, long, self.openings, self.ends)
        nodes = leader._replace(commit=1), Node(1, short), Node(1, long)
        yield State(nodes, one, short, self.openings, self.ends, (0, 1))
        led = (*long, (2, ENDS, False))
        leader = Node(2, led, 0, False, False, True, (0, 2, 0), NOTHING_NAMED, 2)
        nodes = leader, Node(2, led, 2), Node(2, short)
        yield State(nodes, (None, 0, 0, *none), long, self.openings, self.ends)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def settled(self, state: object) -> bool:
        """A leader has committed in its term, or the terms of this bound are used up, or it is the
        operator's turn."""
        assert isinstance(state, State)
        if any(_lost_set(node) for node in state.nodes):
            return True
        for node in state.nodes:
            if node.leads and (_done(node) or node.term == _term_max(state)):
                return _done(node) or self._deserted(state, node)
        return any(node.term == _term_max(state) for node in state.nodes)

    def _deserted(self, state: State, leader: Node) -> bool:
        """A voter's witness was lost after its vote: only another term could help."""
        return any(
            vote is not None and state.nodes[j].flag not in (0, vote)
            for j, vote in enumerate(leader.votes)
        )

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Each node by itself, then each pair."""
        for i in NODES:
            yield from self._fail(state, i)
            if state.nodes[i].leads:
                yield from self._lead(state, i)
                yield from self._add(state, i)
            else:
                yield from self._elect(state, i)

    # --- faults -----------------------------------------------------------------------------------

    def _fail(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        kept = 0 if self.wording is Wording.FLAG_FORGOTTEN else node.flag
        fallen = _fallen(node)._replace(flag=kept)
        if fallen != node:
            yield Step("restart", f"of {i}", _with(state, i, fallen), fault=True)
        if not state.openings:
            return
        number = 1 + i if self.wording is Wording.FLAG_WITHOUT_NUMBER else 3 + state.openings
        if self.wording is Wording.NOT_MARKED:
            number = 0
        opened = _fallen(node)._replace(flag=number)
        fewer = state._replace(openings=state.openings - 1)
        yield Step("open", f"{i} without a witness", _with(fewer, i, opened), fault=True)
        others = any(other.torn for j, other in enumerate(state.nodes) if j != i)
        if not state.ends or (others and self.wording is not Wording.MAJORITY_LOST):
            return
        fewer = fewer._replace(ends=state.ends - 1)
        for length in range(1, len(node.log) + 1):
            log = node.log[:length]
            for term in range(log[-1][0], node.term + 1):
                torn = opened._replace(term=term, log=log, torn=True)
                detail = f"end of {i}, which has {length} entries and term {term}"
                if (term, log) != (node.term, node.log):
                    yield Step("lose", detail, _with(fewer, i, torn), fault=True)

    # --- elections --------------------------------------------------------------------------------

    def _elect(self, state: State, i: int) -> Iterator[Step[State]]:
        """Node i stands, and one or both of the others vote for it. Who has reached a term has no
        vote to give in it, unless it lost that."""
        able = list(_members(state, state.nodes[i].log))
        if self.wording is not Wording.LOG_ALONE:
            able = [j for j in able if not _lost_set(state.nodes[j])]
        if i not in able:
            return
        able.remove(i)
        for voters in (*combinations(able, 1), *combinations(able, 2)):
            term = 1 + max(state.nodes[j].term for j in (i, *voters))
            newest = max(_last(state.nodes[j].log) for j in voters)
            if term <= _term_max(state) and newest <= _last(state.nodes[i].log):
                yield from self._count(state, i, voters, term)

    def _weight(self, state: State, i: int) -> int:
        """The flag under which a node votes."""
        flag = state.nodes[i].flag
        return 0 if (i, flag) in state.agreed else flag

    def _count(
        self, state: State, i: int, voters: tuple[int, ...], term: int
    ) -> Iterator[Step[State]]:
        voted, wording = (i, *voters), self.wording
        votes = tuple(self._weight(state, j) if j in voted else None for j in NODES)
        certain = sum(vote == 0 for vote in votes)
        if wording is Wording.VOTES_COUNT:
            certain = len(voted)
        members = _members(state, state.nodes[i].log)
        everybody = self._all_voted(votes, members) and wording is not Wording.NEVER_COUNTS
        if certain < MAJORITY and not everybody:
            return
        deed = "lead by all" if everybody else "lead"
        detail = f"of {i} in term {term}, voted for by {' and '.join(map(str, voters))}"
        if state.leaders[term] not in (None, i):
            yield Step(deed, detail, Broken(f"term {term} has two leaders"))
            return
        leaders = (*state.leaders[:term], i, *state.leaders[term + 1 :])
        after = state._replace(leaders=leaders)
        for j in voters:
            after = _with(after, j, _flushed(_follower(after.nodes[j])._replace(term=term)))
        led = _flushed(_follower(after.nodes[i]))._replace(term=term, leads=True, votes=votes)
        led = led._replace(log=(*led.log, (term, state.ends, False)), named=NOTHING_NAMED)
        after = _with(after, i, led)
        if everybody and wording is Wording.ONCE_FOR_ALL:
            pairs = ((j, vote) for j, vote in enumerate(votes) if vote)
            after = after._replace(agreed=state.agreed | frozenset(pairs))
        if everybody and wording is Wording.CLEARED_AT_VOTE:
            for j in voted:
                after = _with(after, j, after.nodes[j]._replace(flag=0, torn=False))
        yield Step(deed, detail, after)

    def _all_voted(self, votes: tuple[int | None, ...], members: tuple[int, ...]) -> bool:
        needed = MAJORITY if self.wording is Wording.ALL_BUT_ONE else len(members)
        return sum(vote is not None for vote in votes) >= needed

    def _all_voted_for(self, state: State, leader: Node) -> bool:
        """Who all were is told by its log as it was then."""
        return self._all_voted(leader.votes, _members(state, leader.log[: _began(leader)]))

    # --- the leader -------------------------------------------------------------------------------

    def _lead(self, state: State, i: int) -> Iterator[Step[State]]:
        leader = state.nodes[i]
        if leader.flag and _done(leader) and self._all_voted_for(state, leader):
            after = _with(state, i, leader._replace(flag=0, torn=False))
            yield Step("clear own", f"flag of {i}", after)
        for j in NODES:
            if j != i and state.nodes[j].term <= leader.term:
                yield from self._replicate(state, i, j)
                if state.nodes[j].term == leader.term:
                    yield from self._hear(state, i, j)
                    yield from self._commit(state, i, j)
                    yield from self._clear(state, i, j)

    def _add(self, state: State, i: int) -> Iterator[Step[State]]:
        """Node 2 becomes a member, once the leader's no-op is committed; from then on it counts."""
        leader = state.nodes[i]
        if NEWCOMER not in _members(state, leader.log):
            if _done(leader):
                log = (*leader.log, (leader.term, state.ends, True))
                yield Step("add", f"at {i}", _with(state, i, leader._replace(log=log)))
        elif _flushed(leader) != leader:
            yield Step("note", f"at {i}", _with(state, i, _flushed(leader)))

    def _replicate(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node j hears everything that leader i has."""
        leader, follower = state.nodes[i], state.nodes[j]
        if _flushed(leader) != leader and self.wording is not Wording.TELLS_UNNOTED:
            return
        held = follower.log
        log = held if held[: len(leader.log)] == leader.log else leader.log
        heard = _flushed(_follower(follower)._replace(term=leader.term, log=log))
        if heard != follower:
            yield Step("replicate", f"{i} to {j}", _with(state, j, heard))

    def _hear(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Leader i hears the flag of node j."""
        leader, flag = state.nodes[i], state.nodes[j].flag
        if flag and leader.named[j][0] != flag:
            log = (*leader.log, (leader.term, state.ends, False))
            heard = leader._replace(log=log, named=_put(leader.named, j, (flag, len(log))))
            yield Step("hear", f"flag of {j} at {i}", _with(state, i, heard))

    def _counts(self, state: State, leader: Node, j: int, flag: int) -> bool:
        """Whether what j says under `flag` counts for this leader."""
        wording = self.wording
        if not flag or wording is Wording.ACKS_COUNT:
            return True
        if not self._all_voted_for(state, leader) or wording is Wording.ACKS_NEVER_COUNT:
            return False
        by_name = wording is Wording.ACKS_BY_NAME and leader.votes[j] is not None
        return flag == leader.votes[j] or by_name

    def _commit(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """The leader and node j are a majority; an acknowledgement counts when it is heard."""
        leader, follower = state.nodes[i], state.nodes[j]
        own = not leader.flag or self._all_voted_for(state, leader)
        if not own or not self._counts(state, leader, j, follower.flag):
            return
        if j not in _members(state, leader.log):
            return
        if _flushed(leader) != leader and self.wording is not Wording.COMMITS_UNNOTED:
            return
        index = _same(leader.log, follower.log)
        if index <= leader.commit or leader.log[index - 1][0] != leader.term:
            return
        prefix, detail = leader.log[:index], f"of {index} by {i} with {j}"
        length = min(index, len(state.committed))
        if prefix[:length] != state.committed[:length]:
            lost = f"{_show(prefix)} replaces {_show(state.committed)}, which was answered"
            yield Step("commit", detail, Broken(lost))
            return
        committed = max(prefix, state.committed, key=len)
        after = _with(state, i, leader._replace(commit=index))
        yield Step("commit", detail, after._replace(committed=committed))

    def _clear(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """The entry named must be committed, and held here."""
        leader, follower = state.nodes[i], state.nodes[j]
        flag, entry = leader.named[j]
        if self.wording is Wording.CLEARED_BY_NO_OP:
            entry = min(entry, _began(leader))
        committed = leader.commit >= entry or self.wording is Wording.CLEARED_UNCOMMITTED
        if (
            flag
            and flag == follower.flag
            and committed
            and _same(leader.log, follower.log) >= entry
        ):
            cleared = follower._replace(flag=0, torn=False)
            yield Step("clear", f"flag of {j} by {i}", _with(state, j, cleared))


def _follower(node: Node) -> Node:
    """The node without what it knew as a leader."""
    return Node(node.term, node.log, node.flag, node.torn, node.noted)


def _term_max(state: State) -> int:
    return TERM_MAX if len(state.founders) == len(NODES) else TERM_MAX_ADDING


def _members(state: State, log: Log) -> tuple[int, ...]:
    """The newest set."""
    return tuple(NODES) if _adds(log) else state.founders


def _adds(log: Log) -> bool:
    return any(adds for _, _, adds in log)


def _flushed(node: Node) -> Node:
    """The node when its log is on disk, and so, before that, what it has to note."""
    return node._replace(noted=True) if _adds(node.log) else node


def _fallen(node: Node) -> Node:
    """The node as its disk knows it: what comes after a set that is not noted was not written."""
    follower = _follower(node)
    if _flushed(node) == node:
        return follower
    return follower._replace(log=node.log[: [adds for _, _, adds in node.log].index(True)])


def _lost_set(node: Node) -> bool:
    """An uncertain node that knows of a set which its log lacks."""
    return bool(node.flag) and node.noted and not _adds(node.log)


def _began(leader: Node) -> int:
    """The place of its no-op."""
    return 1 + [term for term, *_ in leader.log].index(leader.term)


def _done(leader: Node) -> bool:
    """Whether its no-op is committed."""
    return leader.commit > 0 and leader.log[leader.commit - 1][0] == leader.term


def _same(log: Log, other: Log) -> int:
    """How many entries two logs have in common."""
    count = 0
    while count < min(len(log), len(other)) and log[count] == other[count]:
        count += 1
    return count


def _last(log: Log) -> tuple[int, int]:
    """What decides whose log is newer."""
    return log[-1][0], len(log)


def _show(log: Log) -> list[int]:
    return [term for term, *_ in log]


def _put(values: tuple[V, ...], index: int, value: V) -> tuple[V, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
