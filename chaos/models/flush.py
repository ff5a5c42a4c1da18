"""What a node says only after its disk has it (A2).

The rule: votes, requests for votes, acknowledgements, the leader's own count and what is applied
wait for the flush of what they depend on.

State: three nodes, each with term, vote and log in memory and the same three on disk, the commit
index, and the index at which the state was last written to disk. A message is one step that sees
what its sender has released by then: under the rule, what the sender's disk has.

Bound: terms up to 2, logs of two entries, two crashes; a crash leaves a node with what is on disk.

No term has two leaders; what was committed, so answered to a client, is never replaced by another
entry; the state on disk is never ahead of the log on disk, for then the log could not go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

TERM_MAX = 2
LOG_MAX = 2
CRASHES = 2
NODES = range(3)
MAJORITY = 2


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    VOTES_BEFORE_FLUSH = "a vote is sent before it is on disk"
    ASKS_BEFORE_FLUSH = "votes are asked for before the own term and vote are on disk"
    ACKS_BEFORE_FLUSH = "entries are acknowledged before they are on disk"
    LEADER_COUNTS_UNFLUSHED = "the leader counts itself before its own disk has the entry"
    APPLIES_UNFLUSHED = "what is committed is applied before the own disk has the entry"
    FLUSH_WITHOUT_VOTE = "term and log are flushed, the vote is not"


class Stored(NamedTuple):
    """What must survive; `log` holds the term of each entry, `vote` a node or None."""

    term: int
    vote: int | None
    log: tuple[int, ...]


class Node(NamedTuple):
    """`state` is the index at which the state on disk is; `role` one of F, C, L."""

    memory: Stored
    disk: Stored
    role: str
    commit: int
    state: int


class State(NamedTuple):
    """The nodes, who led each term so far, and what was answered to clients."""

    nodes: tuple[Node, ...]
    leaders: tuple[int | None, ...]
    answered: tuple[int, ...]
    crashes: int


class Model:
    """Elections and replication over disks that forget what was not flushed."""

    milestones = frozenset({"flush", "crash", "stand", "vote", "lead", "replicate", "commit"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.log_max = LOG_MAX + wider
        self.crashes = CRASHES + wider

    def initial(self) -> Iterator[State]:
        """Node 0 leads term 1; the first entry is everywhere."""
        stored = Stored(1, 0, (1,))
        nodes = tuple(Node(stored, stored, role, 1, 1) for role in "LFF")
        yield State(nodes, (None, 0, *[None] * (TERM_MAX - 1)), (1,), self.crashes)

    def broken(self, state: State) -> str | None:
        """The state on disk is never ahead of the log on disk."""
        for index, node in enumerate(state.nodes):
            if node.state > len(node.disk.log):
                return f"node {index} wrote its state at {node.state}, ahead of its log"
        return None

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Each node by itself, then each pair."""
        for i in NODES:
            yield from self._alone(state, i)
            yield from self._commit(state, i)
            for j in NODES:
                if j != i:
                    yield from self._vote(state, i, j)
                    yield from self._replicate(state, i, j)

    def _alone(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        memory, disk = node.memory, node.disk
        kept = memory
        if self.wording is Wording.FLUSH_WITHOUT_VOTE:
            kept = memory._replace(vote=disk.vote if disk.term == memory.term else None)
        if kept != disk:
            yield Step("flush", f"of {i}", _with(state, i, node._replace(disk=kept)))
        if state.crashes:
            fallen = _with(state, i, Node(disk, disk, "F", node.state, node.state))
            yield Step("crash", f"of {i}", fallen._replace(crashes=state.crashes - 1), fault=True)
        if node.role != "L" and memory.term < TERM_MAX:
            standing = memory._replace(term=memory.term + 1, vote=i)
            after = _with(state, i, node._replace(memory=standing, role="C"))
            yield Step("stand", f"of {i} in term {standing.term}", after)
        if node.role == "C" and self._votes(state, i) >= MAJORITY:
            yield self._lead(state, i)
        applied = len(memory.log) if self._is(Wording.APPLIES_UNFLUSHED) else len(disk.log)
        applied = min(node.commit, applied)
        if applied > node.state:
            after = _with(state, i, node._replace(state=applied))
            yield Step("write", f"state of {i} at {applied}", after)
        if node.role == "L" and len(memory.log) < self.log_max:
            longer = memory._replace(log=(*memory.log, memory.term))
            yield Step("append", f"at {i}", _with(state, i, node._replace(memory=longer)))

    def _is(self, wording: Wording) -> bool:
        return self.wording is wording

    def _votes(self, state: State, i: int) -> int:
        """Votes for node i that were released, its own included."""
        term, votes = state.nodes[i].memory.term, 0
        for j, node in enumerate(state.nodes):
            early = Wording.ASKS_BEFORE_FLUSH if j == i else Wording.VOTES_BEFORE_FLUSH
            said = node.memory if self._is(early) else node.disk
            if self._is(Wording.FLUSH_WITHOUT_VOTE):
                # The flush came, but it did not hold what the vote depends on.
                said = node.memory if node.disk.term == term else node.disk
            votes += said.term == term and said.vote == i
        return votes

    def _lead(self, state: State, i: int) -> Step[State]:
        node = state.nodes[i]
        term, log = node.memory.term, node.memory.log
        detail = f"of {i} in term {term}"
        if state.leaders[term] is not None:
            return Step("lead", detail, Broken(f"term {term} has two leaders"))
        leaders = (*state.leaders[:term], i, *state.leaders[term + 1 :])
        if len(log) < self.log_max:
            log = (*log, term)
        led = node._replace(role="L", memory=node.memory._replace(log=log))
        return Step("lead", detail, _with(state, i, led)._replace(leaders=leaders))

    def _vote(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node j hears the request of candidate i and votes, in memory at first."""
        candidate, voter = state.nodes[i], state.nodes[j]
        asking, memory = candidate.memory, voter.memory
        released = self._is(Wording.ASKS_BEFORE_FLUSH) or candidate.disk.term == asking.term
        if candidate.role != "C" or not released or memory.term > asking.term:
            return
        if memory.term == asking.term and memory.vote is not None:
            return
        if _last(memory.log) > _last(asking.log):
            return
        voted = Stored(asking.term, i, memory.log)
        after = _with(state, j, voter._replace(memory=voted, role="F"))
        yield Step("vote", f"of {j} for {i}", after)

    def _replicate(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node j hears everything that leader i has, in memory at first."""
        leader, follower = state.nodes[i], state.nodes[j]
        sent, held = leader.memory, follower.memory
        if leader.role != "L" or held.term > sent.term:
            return
        log = held.log if held.log[: len(sent.log)] == sent.log else sent.log
        vote = held.vote if held.term == sent.term else None
        commit = max(follower.commit, min(leader.commit, len(sent.log)))
        heard = follower._replace(memory=Stored(sent.term, vote, log), role="F", commit=commit)
        if heard != follower:
            yield Step("replicate", f"{i} to {j}", _with(state, j, heard))

    def _commit(self, state: State, i: int) -> Iterator[Step[State]]:
        """Leader i counts who acknowledged an entry of its term, itself too."""
        leader = state.nodes[i]
        log, term = leader.memory.log, leader.memory.term
        if leader.role != "L":
            return
        for index in range(leader.commit + 1, len(log) + 1):
            if log[index - 1] != term:
                continue
            prefix, count = log[:index], 0
            for j, node in enumerate(state.nodes):
                early = Wording.LEADER_COUNTS_UNFLUSHED if j == i else Wording.ACKS_BEFORE_FLUSH
                said = node.memory if self._is(early) else node.disk
                count += said.term == term and said.log[:index] == prefix
            if count < MAJORITY:
                continue
            length = min(index, len(state.answered))
            if state.answered[:length] != prefix[:length]:
                lost = f"{list(prefix)} replaces {list(state.answered)}, which was answered"
                yield Step("commit", f"of {index} by {i}", Broken(lost))
                continue
            answered = max(state.answered, prefix, key=len)
            after = _with(state, i, leader._replace(commit=index))._replace(answered=answered)
            yield Step("commit", f"of {index} by {i}", after)


def _last(log: tuple[int, ...]) -> tuple[int, int]:
    """What decides whose log is newer: the term of the last entry, then the length."""
    return log[-1], len(log)


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
