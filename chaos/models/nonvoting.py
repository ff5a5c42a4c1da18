"""A node that lost its log counts for nothing until it has caught up (A8).

The rule: the non-voting flag is synced in the node's first batch and kept over restarts; while it
is set, votes and acknowledgements of the node count for nothing and its match index is 0. On
hearing the flag the leader proposes a no-op, and the flag is cleared only when the leader named an
entry that it proposed in its own term after hearing the flag, that a majority of the full set
without this node committed, and that this node holds.

State: three nodes (term, vote, log, flag, role, votes and acknowledgements counted, the entry after
which each peer may clear its flag) and what was committed. An entry is a pair (term, leader). Disks
are in step with memory here (`flush.py` has the rest); any link may be silent for ever, which is a
step that is not taken; acknowledgements may be late.

Bound: terms up to 3, logs of four entries, one lost log, one restart.

What was committed is never replaced by another entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

TERM_MAX = 3
LOG_MAX = 4
RESTARTS = 1
NODES = range(3)
MAJORITY = 2

Log = tuple[tuple[int, int], ...]


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    ACKS_COUNT = "acknowledgements of a non-voting node count"
    VOTES_COUNT = "votes of a non-voting node count"
    STANDS = "a non-voting node stands for election"
    FLAG_FORGOTTEN = "the flag is not kept over a restart"
    OLDER_ENTRY_CLEARS = "an entry from before the leader heard the flag clears it"
    UNCOMMITTED_CLEARS = "an entry that the leader proposed, but nobody committed, clears the flag"
    CLEARS_WITHOUT_HOLDING = "the flag is cleared before the node holds the entry named"
    COUNTED_BY_ITSELF = "the node's own acknowledgement commits the entry that clears its flag"
    STATE_SUFFICES = "a node that has its state, but not its log, goes on voting"


class Node(NamedTuple):
    """`matches` and `joins` have an entry per peer; a join is 0 until the flag was heard."""

    term: int
    vote: int | None
    log: Log
    voting: bool
    role: str
    votes: frozenset[int]
    matches: tuple[int, ...]
    joins: tuple[int, ...]
    commit: int


class State(NamedTuple):
    """The nodes, what was committed by anybody, and the faults that are left."""

    nodes: tuple[Node, ...]
    committed: Log
    losses: int
    restarts: int


NOBODY = (0,) * len(NODES)
NO_VOTES: frozenset[int] = frozenset()


class Model:
    """Elections, replication and the way back of a node whose disk was lost."""

    milestones = frozenset({"lose", "restart", "join", "clear", "lead", "commit", "replicate"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.restarts = RESTARTS + wider
        self.log_max = LOG_MAX + wider

    def initial(self) -> Iterator[State]:
        """Node 0 leads term 1; its no-op is everywhere and committed."""
        log = ((1, 0),)
        leader = Node(1, 0, log, True, "L", frozenset({0, 1}), (1, 1, 1), NOBODY, 1)
        other = Node(1, 0, log, True, "F", NO_VOTES, NOBODY, NOBODY, 1)
        yield State((leader, other, other), log, 1, self.restarts)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Each node by itself, then each pair."""
        for i in NODES:
            yield from self._fail(state, i)
            yield from self._alone(state, i)
            for j in NODES:
                if j != i:
                    yield from self._vote(state, i, j)
                    yield from self._replicate(state, i, j)
                    yield from self._count(state, i, j)

    def _fail(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        fallen = node._replace(
            role="F", votes=NO_VOTES, matches=NOBODY, joins=NOBODY, commit=min(node.commit, 1)
        )
        if state.restarts:
            if self.wording is Wording.FLAG_FORGOTTEN and node.log:
                fallen = fallen._replace(voting=True)
            after = _with(state, i, fallen)._replace(restarts=state.restarts - 1)
            yield Step("restart", f"of {i}", after, fault=True)
        if state.losses:
            empty = Node(0, None, (), False, "F", NO_VOTES, NOBODY, NOBODY, 0)
            if self.wording is Wording.STATE_SUFFICES:
                kept = node.log[: node.commit]
                empty = empty._replace(log=kept, voting=True, term=kept[-1][0], commit=len(kept))
            after = _with(state, i, empty)._replace(losses=state.losses - 1)
            yield Step("lose", f"log of {i}", after, fault=True)

    def _alone(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        may_stand = node.voting or (self.wording is Wording.STANDS and node.log)
        if node.role != "L" and may_stand and node.term < TERM_MAX:
            standing = node._replace(
                term=node.term + 1, vote=i, role="C", votes=frozenset({i}), commit=node.commit
            )
            yield Step("stand", f"of {i} in term {standing.term}", _with(state, i, standing))
        if node.role == "C" and len(node.votes) >= MAJORITY and len(node.log) < self.log_max:
            log = (*node.log, (node.term, i))
            led = node._replace(role="L", log=log, matches=NOBODY, joins=NOBODY)
            yield Step("lead", f"of {i} in term {node.term}", _with(state, i, led))
        if node.role == "L":
            if len(node.log) < self.log_max:
                longer = node._replace(log=(*node.log, (node.term, i)))
                yield Step("append", f"at {i}", _with(state, i, longer))
            yield from self._commit(state, i)

    def _commit(self, state: State, i: int) -> Iterator[Step[State]]:
        leader = state.nodes[i]
        counted = sorted((len(leader.log) if j == i else leader.matches[j]) for j in NODES)
        index = counted[len(NODES) - MAJORITY]
        if index <= leader.commit or leader.log[index - 1][0] != leader.term:
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

    def _vote(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Candidate i gets the vote of j; an empty log is the oldest there is."""
        candidate, voter = state.nodes[i], state.nodes[j]
        if candidate.role != "C" or voter.term > candidate.term or j in candidate.votes:
            return
        if not voter.voting and self.wording is not Wording.VOTES_COUNT:
            return
        vote = voter.vote if voter.term == candidate.term else None
        if vote not in (None, i) or _last(voter.log) > _last(candidate.log):
            return
        elected = candidate._replace(votes=candidate.votes | {j})
        voted = _deposed(voter, candidate.term)._replace(vote=i)
        after = _with(_with(state, i, elected), j, voted)
        yield Step("vote", f"of {j} for {i}", after)

    def _replicate(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node j hears everything that leader i has; the flag may be cleared with it."""
        leader, follower = state.nodes[i], state.nodes[j]
        if leader.role != "L" or follower.term > leader.term:
            return
        held = follower.log
        log = held if held[: len(leader.log)] == leader.log else leader.log
        commit = max(follower.commit, min(leader.commit, len(leader.log)))
        heard = _deposed(follower, leader.term)._replace(log=log, commit=commit)
        if heard != follower:
            yield Step("replicate", f"{i} to {j}", _with(state, j, heard))
        if not follower.voting and self._may_clear(leader, follower, j):
            cleared = follower._replace(voting=True)
            yield Step("clear", f"flag of {j} by {i}", _with(state, j, cleared))

    def _may_clear(self, leader: Node, follower: Node, j: int) -> bool:
        """The entry named must be committed by the others, and held here."""
        entry, wording = leader.joins[j], self.wording
        if wording is Wording.OLDER_ENTRY_CLEARS:
            entry = min(entry, leader.commit)
        held = follower.term == leader.term and follower.log[:entry] == leader.log[:entry]
        held = held and len(follower.log) >= entry
        committed = leader.commit >= entry
        if wording is Wording.UNCOMMITTED_CLEARS:
            committed = True
        if wording is Wording.CLEARS_WITHOUT_HOLDING:
            held = True
        return entry > 0 and committed and held

    def _count(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Leader i hears an acknowledgement of j, or its flag."""
        leader, follower = state.nodes[i], state.nodes[j]
        if leader.role != "L" or follower.term != leader.term:
            return
        index = 0
        while index < min(len(leader.log), len(follower.log)):
            if leader.log[index] != follower.log[index]:
                break
            index += 1
        if follower.voting:
            counted = max(index, leader.matches[j])
            heard = leader._replace(
                matches=_put(leader.matches, j, counted), joins=_put(leader.joins, j, 0)
            )
            if heard != leader:
                yield Step("count", f"{j} up to {counted} at {i}", _with(state, i, heard))
            return
        counted = index if self._acks_count(leader, j) else 0
        heard = leader._replace(matches=_put(leader.matches, j, counted))
        if not leader.joins[j] and len(leader.log) < self.log_max:
            heard = heard._replace(
                log=(*leader.log, (leader.term, i)),
                joins=_put(leader.joins, j, len(leader.log) + 1),
            )
        if heard != leader:
            yield Step("join", f"of {j} heard by {i}", _with(state, i, heard))

    def _acks_count(self, leader: Node, j: int) -> bool:
        if self.wording is Wording.COUNTED_BY_ITSELF:
            return leader.joins[j] > 0
        return self.wording is Wording.ACKS_COUNT


def _deposed(node: Node, term: int) -> Node:
    """The node as a follower of `term`; what it counted as a leader is forgotten."""
    vote = node.vote if node.term == term else None
    return node._replace(
        term=term, vote=vote, role="F", votes=NO_VOTES, matches=NOBODY, joins=NOBODY
    )


def _last(log: Log) -> tuple[int, int]:
    return (log[-1][0] if log else 0), len(log)


def _put(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
