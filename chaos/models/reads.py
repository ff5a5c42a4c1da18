"""What a leader must know before it answers a read (A6).

The rule: a leader answers reads only after its own no-op is applied; it takes the commit index,
waits until a majority has answered, in this term, a heartbeat sent after the read arrived, and then
until that index is applied.

State: three nodes (term, length of log, commit and applied index, whether it leads), how many
entries were acknowledged to clients, and one read: where, in which term, the index taken, what was
acknowledged when it arrived, and who has answered a heartbeat since. Entries are counted, not told
apart: a leader is elected only with the longest log among its voters.

Bound: terms up to 3, logs of four entries, one read.

The answer holds everything that was acknowledged before the read arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

TERM_MAX = 3
LOG_MAX = 4
NODES = range(3)
MAJORITY = 2


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    NO_HEARTBEAT = "a leader that believes in itself answers without asking anybody"
    EARLIER_HEARTBEAT = "answers to heartbeats from before the read arrived count"
    ANY_TERM = "the answer of a node that is in a higher term counts"
    BEFORE_NO_OP = "the commit index is taken before the leader's own no-op is committed"
    UNAPPLIED = "the answer does not wait until the index is applied"


class Node(NamedTuple):
    """`own` is the index of the no-op where it leads; `heard` is who answered a heartbeat."""

    term: int
    leads: bool
    length: int
    commit: int
    applied: int
    own: int
    heard: frozenset[int]


class Read(NamedTuple):
    """A read at a leader; `acknowledged` is what its answer must hold."""

    node: int
    term: int
    commit: int
    acknowledged: int


class State(NamedTuple):
    """The nodes, the number of entries acknowledged to clients, the read and whether it came."""

    nodes: tuple[Node, ...]
    acknowledged: int
    read: Read | None
    came: bool


NOBODY: frozenset[int] = frozenset()


class Model:
    """Writes, changes of leader, and one read at a leader that may not lead any more."""

    milestones = frozenset({"elect", "commit", "arrive", "heartbeat", "answer", "apply"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.log_max = LOG_MAX + wider

    def initial(self) -> Iterator[State]:
        """Node 0 leads term 1, its no-op is everywhere and applied."""
        follower = Node(1, False, 1, 1, 1, 0, NOBODY)
        leader = follower._replace(leads=True, own=1)
        yield State((leader, follower, follower), 1, None, False)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Each node by itself, then each pair, then the read."""
        for i, node in enumerate(state.nodes):
            if node.applied < node.commit:
                applied = node._replace(applied=node.commit)
                yield Step("apply", f"{node.commit} at {i}", _with(state, i, applied))
            for j in NODES:
                if j == i:
                    continue
                if node.leads:
                    yield from self._write(state, i, j)
                    yield from self._heartbeat(state, i, j)
                else:
                    yield from self._elect(state, i, j)
        yield from self._read(state)

    def _elect(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        node, voter = state.nodes[i], state.nodes[j]
        term = max(node.term, voter.term) + 1
        if term > TERM_MAX or voter.length > node.length or node.length >= self.log_max:
            return
        length = node.length + 1
        led = Node(term, True, length, node.commit, node.applied, length, NOBODY)
        after = _with(_with(state, i, led), j, _follower(voter, term))
        yield Step("elect", f"{i} by {j} in term {term}", after)

    def _write(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Leader i has its log, with or without one more entry, committed by j."""
        leader, node = state.nodes[i], state.nodes[j]
        if node.term > leader.term:
            return
        for length in range(leader.length, min(leader.length + 1, self.log_max) + 1):
            if length == leader.commit:
                continue
            led = leader._replace(length=length, commit=length)
            # The follower hears of this commit with the next message.
            heard = _follower(node, leader.term)
            known = max(node.commit, leader.commit)
            heard = heard._replace(length=length, commit=known)
            after = _with(_with(state, i, led), j, heard)
            acknowledged = max(state.acknowledged, length)
            yield Step(
                "commit", f"{length} by {i} and {j}", after._replace(acknowledged=acknowledged)
            )

    def _heartbeat(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        leader, node = state.nodes[i], state.nodes[j]
        if node.term > leader.term and self.wording is not Wording.ANY_TERM:
            return
        early = self.wording is Wording.EARLIER_HEARTBEAT
        if j in leader.heard or not (early or (state.read and state.read.node == i)):
            return
        after = _with(state, i, leader._replace(heard=leader.heard | {j}))
        if node.term < leader.term:
            after = _with(after, j, _follower(node, leader.term))
        yield Step("heartbeat", f"of {i} answered by {j}", after)

    def _read(self, state: State) -> Iterator[Step[State]]:
        wording, read = self.wording, state.read
        if read is None:
            for i, node in enumerate(state.nodes):
                ready = node.applied >= node.own or wording is Wording.BEFORE_NO_OP
                if state.came or not node.leads or not ready:
                    continue
                heard = node.heard if wording is Wording.EARLIER_HEARTBEAT else NOBODY
                arrived = Read(i, node.term, node.commit, state.acknowledged)
                after = _with(state, i, node._replace(heard=heard))
                yield Step("arrive", f"at {i}", after._replace(read=arrived, came=True))
            return
        node = state.nodes[read.node]
        if not node.leads or node.term != read.term:
            yield Step("drop", "the read: the leader was deposed", state._replace(read=None))
            return
        confirmed = len(node.heard) + 1 >= MAJORITY or wording is Wording.NO_HEARTBEAT
        applied = node.applied >= read.commit or wording is Wording.UNAPPLIED
        if not confirmed or not applied:
            return
        if node.applied < read.acknowledged:
            sentence = f"the answer holds {node.applied}, {read.acknowledged} was acknowledged"
            yield Step("answer", f"at {read.node}", Broken(sentence))
            return
        yield Step("answer", f"at {read.node}", state._replace(read=None))


def _follower(node: Node, term: int) -> Node:
    return Node(term, False, node.length, node.commit, node.applied, 0, NOBODY)


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
