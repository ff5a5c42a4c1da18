"""Nodes that may have lost the end of their logs, for their witness cannot be read (L4, A8).

The rule: such a node is uncertain, with a flag numbered for each opening. Its vote counts only
where all members vote for the same candidate; in that leader's term the acknowledgements of those
that were uncertain when they voted count, as long as they bear the flag that they voted with. The
flag is cleared as in A8: when the node holds an entry that the leader proposed after hearing this
very flag, and that is committed; the leader's own, when its no-op is committed.

State: three nodes (term, log, flag, whether the end is really lost; of a leader who voted and under
which flag, the flags heard with the entry named for each, and its commit index), who led each term
and what was committed. An election is one step, as in `nonvoting.py`, and an acknowledgement counts
in the step in which it is heard: with the leader it is a majority. An entry is its term and the
number of ends not lost yet, for a leader that lost its end may make another one in the same term. A
lost end is any number of entries, with later terms and votes. A link may be silent for ever: a step
not taken.

Bound: terms up to 3, one opening without a witness, in which an end may be lost. It begins with one
leader and an entry that only two nodes hold; with three uncertain nodes after a power cut, of which
one has lost that entry; and with a leader of term 2 that all voted for, node 1 as uncertain.

No term has two leaders; what was committed is never replaced by another entry; and with all nodes
up a leader can commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, TypeVar

from chaos.models.explore import Broken, Step

V = TypeVar("V")
Entry = tuple[int, int]

TERM_MAX = 3
OPENINGS = 1
ENDS = 1
NODES = range(3)
MAJORITY = 2
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


class Node(NamedTuple):
    """`flag` is 0 where the node is certain; `torn`: its end is lost, and not made good yet.

    The last three are of a leader: who voted, under which flag, None for who did not; the flag
    heard of each, with the entry proposed upon it; the commit index.
    """

    term: int
    log: tuple[Entry, ...]
    flag: int = 0
    torn: bool = False
    leads: bool = False
    votes: tuple[int | None, ...] = ()
    named: tuple[tuple[int, int], ...] = ()
    commit: int = 0


class State(NamedTuple):
    """The nodes, who led each term, what was committed, the faults left, and (one wording only) who
    took part where all voted alike."""

    nodes: tuple[Node, ...]
    leaders: tuple[int | None, ...]
    committed: tuple[Entry, ...]
    openings: int
    ends: int
    agreed: frozenset[tuple[int, int]] = frozenset()


class Model:
    """Elections, replication, and what an unreadable witness may have cost."""

    milestones = frozenset(
        {"open", "lose", "restart", "lead", "lead by all", "hear", "clear", "clear own"}
        | {"commit", "replicate"}
    )

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        more = wording is Wording.MAJORITY_LOST
        self.openings = OPENINGS + wider + more
        self.ends = ENDS + more

    def initial(self) -> Iterator[State]:
        """See the bound."""
        long, short = ((1, 0), (1, 0)), ((1, 0),)
        none = (None,) * (TERM_MAX - 2)
        one = (None, 0, None, *none)
        cut = Node(1, short, 1, True), Node(1, long, 2), Node(1, short, 3)
        yield State(cut, one, long, 0, 0)
        if self.wording in (Wording.NEVER_COUNTS, Wording.ACKS_NEVER_COUNT):
            return  # they stand still in there, which needs the whole space to tell
        leader = Node(1, long, 0, False, True, (0, 0, None), NOTHING_NAMED, 2)
        nodes = leader, Node(1, long), Node(1, short)
        yield State(nodes, one, long, self.openings, self.ends)
        led = (*long, (2, ENDS))
        leader = Node(2, led, 0, False, True, (0, 2, 0), NOTHING_NAMED, 2)
        nodes = leader, Node(2, led, 2), Node(2, short)
        yield State(nodes, (None, 0, 0, *none), long, self.openings, self.ends)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def settled(self, state: object) -> bool:
        """A leader has committed in its term, or the terms of this bound are used up."""
        assert isinstance(state, State)
        for node in state.nodes:
            if node.leads and (_done(node) or node.term == TERM_MAX):
                return _done(node) or self._deserted(state, node)
        return any(node.term == TERM_MAX for node in state.nodes)

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
            else:
                yield from self._elect(state, i)

    # --- faults -----------------------------------------------------------------------------------

    def _fail(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        kept = 0 if self.wording is Wording.FLAG_FORGOTTEN else node.flag
        fallen = _follower(node)._replace(flag=kept)
        if fallen != node:
            yield Step("restart", f"of {i}", _with(state, i, fallen), fault=True)
        if not state.openings:
            return
        number = 1 + i if self.wording is Wording.FLAG_WITHOUT_NUMBER else 3 + state.openings
        if self.wording is Wording.NOT_MARKED:
            number = 0
        opened = _follower(node)._replace(flag=number)
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
        others = [j for j in NODES if j != i]
        for voters in ((others[0],), (others[1],), tuple(others)):
            term = 1 + max(state.nodes[j].term for j in (i, *voters))
            newest = max(_last(state.nodes[j].log) for j in voters)
            if term <= TERM_MAX and newest <= _last(state.nodes[i].log):
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
        everybody = self._all_voted(votes) and wording is not Wording.NEVER_COUNTS
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
            after = _with(after, j, _follower(after.nodes[j])._replace(term=term))
        led = _follower(after.nodes[i])._replace(term=term, leads=True, votes=votes)
        led = led._replace(log=(*led.log, (term, state.ends)), named=NOTHING_NAMED)
        after = _with(after, i, led)
        if everybody and wording is Wording.ONCE_FOR_ALL:
            pairs = ((j, vote) for j, vote in enumerate(votes) if vote)
            after = after._replace(agreed=state.agreed | frozenset(pairs))
        if everybody and wording is Wording.CLEARED_AT_VOTE:
            for j in voted:
                after = _with(after, j, after.nodes[j]._replace(flag=0, torn=False))
        yield Step(deed, detail, after)

    def _all_voted(self, votes: tuple[int | None, ...]) -> bool:
        needed = MAJORITY if self.wording is Wording.ALL_BUT_ONE else len(NODES)
        return sum(vote is not None for vote in votes) >= needed

    # --- the leader -------------------------------------------------------------------------------

    def _lead(self, state: State, i: int) -> Iterator[Step[State]]:
        leader = state.nodes[i]
        if leader.flag and _done(leader) and self._all_voted(leader.votes):
            after = _with(state, i, leader._replace(flag=0, torn=False))
            yield Step("clear own", f"flag of {i}", after)
        for j in NODES:
            if j != i and state.nodes[j].term <= leader.term:
                yield from self._replicate(state, i, j)
                if state.nodes[j].term == leader.term:
                    yield from self._hear(state, i, j)
                    yield from self._commit(state, i, j)
                    yield from self._clear(state, i, j)

    def _replicate(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node j hears everything that leader i has."""
        leader, follower = state.nodes[i], state.nodes[j]
        held = follower.log
        log = held if held[: len(leader.log)] == leader.log else leader.log
        heard = _follower(follower)._replace(term=leader.term, log=log)
        if heard != follower:
            yield Step("replicate", f"{i} to {j}", _with(state, j, heard))

    def _hear(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Leader i hears the flag of node j."""
        leader, flag = state.nodes[i], state.nodes[j].flag
        if flag and leader.named[j][0] != flag:
            log = (*leader.log, (leader.term, state.ends))
            heard = leader._replace(log=log, named=_put(leader.named, j, (flag, len(log))))
            yield Step("hear", f"flag of {j} at {i}", _with(state, i, heard))

    def _counts(self, leader: Node, j: int, flag: int) -> bool:
        """Whether what j says under `flag` counts for this leader."""
        wording = self.wording
        if not flag or wording is Wording.ACKS_COUNT:
            return True
        if not self._all_voted(leader.votes) or wording is Wording.ACKS_NEVER_COUNT:
            return False
        by_name = wording is Wording.ACKS_BY_NAME and leader.votes[j] is not None
        return flag == leader.votes[j] or by_name

    def _commit(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """The leader and node j are a majority; an acknowledgement counts when it is heard."""
        leader, follower = state.nodes[i], state.nodes[j]
        own = not leader.flag or self._all_voted(leader.votes)
        if not own or not self._counts(leader, j, follower.flag):
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
            entry = min(entry, 1 + [term for term, _ in leader.log].index(leader.term))
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
    return Node(node.term, node.log, node.flag, node.torn)


def _done(leader: Node) -> bool:
    """Whether its no-op is committed."""
    return leader.commit > 0 and leader.log[leader.commit - 1][0] == leader.term


def _same(log: tuple[Entry, ...], other: tuple[Entry, ...]) -> int:
    """How many entries two logs have in common."""
    count = 0
    while count < min(len(log), len(other)) and log[count] == other[count]:
        count += 1
    return count


def _last(log: tuple[Entry, ...]) -> tuple[int, int]:
    """What decides whose log is newer."""
    return log[-1][0], len(log)


def _show(log: tuple[Entry, ...]) -> list[int]:
    return [term for term, _ in log]


def _put(values: tuple[V, ...], index: int, value: V) -> tuple[V, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
