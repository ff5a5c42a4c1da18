"""A node that lost its log counts for nothing until it has caught up (A8).

The rule: the non-voting flag is synced in the node's first batch, kept over restarts, and bears a
number of its own for each loss; while it is set, votes and acknowledgements of the node count for
nothing and its match index is 0. On hearing the flag the leader proposes a no-op, and the flag is
cleared only when the leader named an entry that it proposed in its own term after hearing this very
flag, that a majority of the full set without this node committed, and that this node holds.

State: three nodes (term, log as the terms of its entries, flag; of a leader also what each peer
acknowledged, the entry after which each peer may clear its flag, and its commit index), who led
each term and what was committed. An election is one step: a node that has no vote to give in a
term has reached that term. Disks are in step with memory (`flush.py` has the rest), but a restart
of a non-voting node may leave any shorter log, also while it clears its flag: that is synced with
what the node holds, or not at all. A link may be silent for ever, which is a step that is not
taken, so a leader that was cut off goes on believing.

Bound: terms up to 2, logs of three entries, two lost logs. It begins with one leader, or with node
1 elected in term 2 by node 2, unknown to node 0, which leads term 1.

No term has two leaders; what was committed is never replaced by another entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, TypeVar

from chaos.models.explore import Broken, Step

V = TypeVar("V")

TERM_MAX = 2
LOG_MAX = 3
LOSSES = 2
NODES = range(3)
MAJORITY = 2


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    ACKS_COUNT = "acknowledgements of a non-voting node count"
    VOTES_COUNT = "votes of a non-voting node count"
    STANDS = "a non-voting node stands for election"
    FLAG_FORGOTTEN = "the flag is not kept over a restart"
    OLDER_ENTRY_CLEARS = "an entry from before the leader heard the flag clears it"
    UNCOMMITTED_CLEARS = "an entry that the leader proposed, but nobody committed, clears the flag"
    FLAG_WITHOUT_NUMBER = "a second loss passes for the first: its flag looks the same"
    COUNTED_BY_ITSELF = "the node's own acknowledgement commits the entry that clears its flag"
    STATE_SUFFICES = "a node that has its state, but not its log, goes on voting"


class Node(NamedTuple):
    """`loss` is the number of the flag, 0 where the node votes.

    The last three are of a leader: per peer what it acknowledged, and the flag that was heard with
    the entry proposed upon it.
    """

    term: int
    log: tuple[int, ...]
    loss: int
    leads: bool
    matches: tuple[int, ...]
    joins: tuple[tuple[int, int], ...]
    commit: int


class State(NamedTuple):
    """The nodes, who led each term, what was committed by anybody, and the faults left."""

    nodes: tuple[Node, ...]
    leaders: tuple[int | None, ...]
    committed: tuple[int, ...]
    losses: int


NOBODY = (0,) * len(NODES)
NO_JOINS = ((0, 0),) * len(NODES)


class Model:
    """Elections, replication and the way back of a node whose log was lost."""

    milestones = frozenset(
        {"lose", "restart", "restart unsynced", "hear", "clear", "elect", "commit", "replicate"}
    )

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.term_max = TERM_MAX + wider
        self.log_max = LOG_MAX

    def initial(self) -> Iterator[State]:
        """One leader; or two, for node 0 does not know of term 2 yet."""
        old = Node(1, (1,), 0, True, (1, 1, 1), NO_JOINS, 1)
        other = Node(1, (1,), 0, False, NOBODY, NO_JOINS, 0)
        later = [None] * (self.term_max - 2)
        one = (None, 0, None, *later)
        yield State((old, other, other), one, (1,), LOSSES)
        new = Node(2, (1, 2), 0, True, NOBODY, NO_JOINS, 1)
        voter = other._replace(term=2)
        two = (None, 0, 1, *later)
        yield State((old, new, voter), two, (1,), LOSSES)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Each node by itself, then each pair."""
        for i in NODES:
            yield from self._fail(state, i)
            if state.nodes[i].leads:
                yield from self._append(state, i)
                yield from self._commit(state, i)
            for j in NODES:
                if j != i:
                    yield from self._elect(state, i, j)
                    yield from self._replicate(state, i, j)
                    yield from self._hear(state, i, j)

    def _fail(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        fallen = _follower(node, node.term)
        if self.wording is Wording.FLAG_FORGOTTEN and node.log:
            fallen = fallen._replace(loss=0)
        if fallen != node:
            yield Step("restart", f"of {i}", _with(state, i, fallen), fault=True)
        if node.loss and fallen.loss:
            for length in range(len(node.log)):
                cut = fallen._replace(log=node.log[:length])
                detail = f"of {i} with {length} entries, the rest was not on disk"
                yield Step("restart unsynced", detail, _with(state, i, cut), fault=True)
        if state.losses:
            number = 1 if self.wording is Wording.FLAG_WITHOUT_NUMBER else state.losses
            empty = Node(0, (), number, False, NOBODY, NO_JOINS, 0)
            if self.wording is Wording.STATE_SUFFICES:
                # Its state holds the first entry, so it takes its log for cut off there.
                empty = empty._replace(term=1, log=node.log[:1], loss=0)
            after = _with(state, i, empty)._replace(losses=state.losses - 1)
            yield Step("lose", f"log of {i}", after, fault=True)

    def _append(self, state: State, i: int) -> Iterator[Step[State]]:
        leader = state.nodes[i]
        if len(leader.log) < self.log_max:
            longer = leader._replace(log=(*leader.log, leader.term))
            yield Step("append", f"at {i}", _with(state, i, longer))

    def _commit(self, state: State, i: int) -> Iterator[Step[State]]:
        leader = state.nodes[i]
        counted = sorted((len(leader.log) if j == i else leader.matches[j]) for j in NODES)
        index = counted[len(NODES) - MAJORITY]
        if index <= leader.commit or leader.log[index - 1] != leader.term:
            return
        prefix, detail = leader.log[:index], f"of {index} by {i}"
        length = min(index, len(state.committed))
        if prefix[:length] != state.committed[:length]:
            lost = f"{list(prefix)} replaces {list(state.committed)}, which was answered"
            yield Step("commit", detail, Broken(lost))
            return
        committed = max(prefix, state.committed, key=len)
        after = _with(state, i, leader._replace(commit=index))
        yield Step("commit", detail, after._replace(committed=committed))

    def _elect(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node i stands, j votes for it; the third node hears of it some time, or never."""
        candidate, voter = state.nodes[i], state.nodes[j]
        term, wording = max(candidate.term, voter.term) + 1, self.wording
        if candidate.leads or term > self.term_max:
            return
        if candidate.loss and (wording is not Wording.STANDS or not candidate.log):
            return
        if voter.loss and wording is not Wording.VOTES_COUNT:
            return
        full = len(candidate.log) >= self.log_max
        if full or _last(voter.log) > _last(candidate.log):
            return
        detail = f"{i} by {j} in term {term}"
        if state.leaders[term] is not None:
            yield Step("elect", detail, Broken(f"term {term} has two leaders"))
            return
        leaders = (*state.leaders[:term], i, *state.leaders[term + 1 :])
        led = _follower(candidate, term)._replace(leads=True, log=(*candidate.log, term))
        after = _with(_with(state, i, led), j, _follower(voter, term))
        yield Step("elect", detail, after._replace(leaders=leaders))

    def _replicate(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node j hears everything that leader i has; the flag may be cleared with it."""
        leader, follower = state.nodes[i], state.nodes[j]
        if not leader.leads or follower.term > leader.term:
            return
        held = follower.log
        log = held if held[: len(leader.log)] == leader.log else leader.log
        heard = _follower(follower, leader.term)._replace(log=log)
        if heard != follower:
            yield Step("replicate", f"{i} to {j}", _with(state, j, heard))
        if follower.loss and self._may_clear(leader, follower, j):
            cleared = follower._replace(loss=0)
            yield Step("clear", f"flag of {j} by {i}", _with(state, j, cleared))

    def _may_clear(self, leader: Node, follower: Node, j: int) -> bool:
        """The entry named must be committed by the others, and held here."""
        (loss, entry), wording = leader.joins[j], self.wording
        if loss != follower.loss:
            return False
        if wording is Wording.OLDER_ENTRY_CLEARS:
            entry = min(entry, leader.commit)
        held = follower.term == leader.term and follower.log[:entry] == leader.log[:entry]
        held = held and len(follower.log) >= entry
        committed = leader.commit >= entry
        if wording is Wording.UNCOMMITTED_CLEARS:
            committed = True
        return entry > 0 and committed and held

    def _hear(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Leader i hears what node j holds, and its flag."""
        leader, follower = state.nodes[i], state.nodes[j]
        if not leader.leads or follower.term != leader.term:
            return
        same = 0
        while same < min(len(leader.log), len(follower.log)):
            if leader.log[same] != follower.log[same]:
                break
            same += 1
        counted = max(same, leader.matches[j])
        if follower.loss:
            counted = same if self._acks_count(leader, j) else 0
        heard = leader._replace(matches=_put(leader.matches, j, counted))
        if not follower.loss:
            heard = heard._replace(joins=_put(leader.joins, j, (0, 0)))
        elif leader.joins[j][0] != follower.loss and len(leader.log) < self.log_max:
            log = (*leader.log, leader.term)
            heard = heard._replace(log=log, joins=_put(leader.joins, j, (follower.loss, len(log))))
        if heard != leader:
            flag = ", non-voting" if follower.loss else ""
            yield Step("hear", f"{j} up to {counted} at {i}{flag}", _with(state, i, heard))

    def _acks_count(self, leader: Node, j: int) -> bool:
        if self.wording is Wording.COUNTED_BY_ITSELF:
            return leader.joins[j][1] > 0
        return self.wording is Wording.ACKS_COUNT


def _follower(node: Node, term: int) -> Node:
    """The node in `term`, without what it counted as a leader."""
    return Node(term, node.log, node.loss, False, NOBODY, NO_JOINS, 0)


def _last(log: tuple[int, ...]) -> tuple[int, int]:
    """What decides whose log is newer; an empty log is the oldest."""
    return (log[-1] if log else 0), len(log)


def _put(values: tuple[V, ...], index: int, value: V) -> tuple[V, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
