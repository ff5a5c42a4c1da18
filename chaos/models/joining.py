"""A node joins with an empty disk and a non-voting flag, which its adding names (A10, and A8).

The rule: the entry that adds a node names the flag that it bore when the leader last heard of it;
wherever the entry is in the log, at the node and at whoever counts it, who bears that flag counts.
Who bears another one has lost its disk, and who bears none has an older disk of the node's name.
The node keeps the flag for good.

State: three nodes (term, log, who leads, commit index, flag) and what was committed. An entry is
its term and, where it adds the newcomer, the flag that it names. An election is one step in which a
smallest majority votes. Once, the newcomer may lose its disk, and bears another flag from then on;
or an older disk may be put back, from before the node was last removed: empty here, without a flag.

Bound: terms up to 4, logs of four entries. One member, and 2 to be added; two members, 0 and 1, of
which 0 may be behind, and 2 to be added.

What was committed is never replaced; and as long as no disk was lost, some node can be elected and
commit in its own term, with the newcomer's adding or without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

from chaos.models.explore import Broken, Step

TERM_MAX = 4
LOG_MAX = 4
NEWCOMER = 2
# The newcomer's flags: at first, and after its disk was lost.
FIRST, LATER = 1, 2

# An entry: its term, and the flag that it names where it adds the newcomer.
Log = tuple[tuple[int, int | None], ...]


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    ANY_FLAG = "whatever flag an added node bears counts for nothing"
    AS_AFTER_A_LOSS = "the flag of an added node counts, as after a lost disk"
    ITS_OWN_WORD = "only the added node knows that its flag counts for nothing"
    FORGETS = (
        "the added node clears its flag when the entry is committed, and who bears none counts"
    )


class Node(NamedTuple):
    """`flag`: 0 for none."""

    term: int
    log: Log
    leads: bool
    commit: int
    flag: int


class State(NamedTuple):
    """`founders`: the members before the newcomer; `heard`: its flag, as a leader last heard;
    `swapped`: its disk was lost, or an older one put back."""

    nodes: tuple[Node, ...]
    committed: Log
    founders: frozenset[int]
    heard: int
    swapped: bool


class Model:
    """Elections, replication, the adding of one node, and the loss of its disk."""

    milestones = frozenset({"elect", "add", "commit", "lose disk", "restart", "put back"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.log_max = LOG_MAX + wider

    def initial(self) -> Iterator[State]:
        """See the bound. A node that is no founder and no newcomer is not there."""
        first: Log = ((1, None),)
        new = Node(0, (), False, 0, FIRST)
        leader = Node(1, first, True, 1, 0)
        absent = Node(0, (), False, 0, 0)
        yield State((absent, leader, new), first, frozenset({1}), FIRST, swapped=False)
        behind = Node(1, first, False, 1, 0)
        yield State((behind, leader, new), first, frozenset({0, 1}), FIRST, swapped=False)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def settled(self, state: object) -> bool:
        """A leader has committed in its own term, or the bound is reached, or a disk was lost."""
        assert isinstance(state, State)
        if state.swapped or any(len(node.log) == self.log_max for node in state.nodes):
            return True
        if any(node.term == TERM_MAX for node in state.nodes):
            return True
        return any(
            node.leads and node.commit == len(node.log) and node.log[-1][0] == node.term
            for node in state.nodes
        )

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Each node by itself, then each pair."""
        for i, node in enumerate(state.nodes):
            if i not in state.founders and i != NEWCOMER:
                continue
            yield from self._elect(state, i)
            if node.leads:
                yield Step("restart", f"of {i}", _with(state, i, node._replace(leads=False)), True)
                yield from self._append(state, i)
                yield from self._commit(state, i)
                for j in sorted((state.founders | {NEWCOMER}) - {i}):
                    yield from self._replicate(state, i, j)
        new = state.nodes[NEWCOMER]
        forgets = self.wording is Wording.FORGETS and new.flag and new.flag == _named(new.log)
        if forgets and new.commit >= _place(new.log):
            cleared = _with(state, NEWCOMER, new._replace(flag=0))
            yield Step("clear", f"of {NEWCOMER}", cleared)
        if not state.swapped:
            lost = Node(0, (), False, 0, LATER)
            after = _with(state, NEWCOMER, lost)._replace(swapped=True)
            yield Step("lose disk", f"of {NEWCOMER}", after, fault=True)
            older = _with(state, NEWCOMER, lost._replace(flag=0))._replace(swapped=True)
            yield Step("put back", f"at {NEWCOMER}", older, fault=True)

    # --- who counts -------------------------------------------------------------------------------

    def _members(self, state: State, log: Log) -> frozenset[int]:
        return state.founders | ({NEWCOMER} if _named(log) else set())

    def _counts(self, state: State, i: int, j: int) -> bool:
        """Whether node i, by its own log, counts what node j says."""
        node, other = state.nodes[i], state.nodes[j]
        if j not in self._members(state, node.log):
            return False
        if j != NEWCOMER or self.wording is Wording.ANY_FLAG:
            return True
        if self.wording is Wording.AS_AFTER_A_LOSS:
            return not other.flag
        if self.wording is Wording.FORGETS and not other.flag:
            return True
        said = other.log if self.wording is Wording.ITS_OWN_WORD else node.log
        return other.flag == _named(said)

    def _elect(self, state: State, i: int) -> Iterator[Step[State]]:
        """Node i stands in a term that is new to all who vote for it."""
        nodes, node = state.nodes, state.nodes[i]
        members = self._members(state, node.log)
        if node.leads or len(node.log) >= self.log_max or not self._counts(state, i, i):
            return
        willing = [
            j
            for j in sorted(members - {i})
            if _last(nodes[j].log) <= _last(node.log) and self._counts(state, i, j)
        ]
        for voters in combinations(willing, len(members) // 2):
            term = 1 + max(nodes[j].term for j in (i, *voters))
            if term > TERM_MAX:
                continue
            led = node._replace(term=term, leads=True, log=(*node.log, (term, None)))
            after = _with(state, i, led)
            for j in voters:
                after = _with(after, j, nodes[j]._replace(term=term, leads=False))
            yield Step("elect", f"{i} by {list(voters)} in term {term}", after)

    # --- the log ----------------------------------------------------------------------------------

    def _append(self, state: State, i: int) -> Iterator[Step[State]]:
        """The newcomer is added, once it holds what the leader has; or a plain entry."""
        leader, new = state.nodes[i], state.nodes[NEWCOMER]
        if len(leader.log) >= self.log_max:
            return
        plain = leader._replace(log=(*leader.log, (leader.term, None)))
        if len(leader.log) - leader.commit < 1:
            yield Step("append", f"at {i}", _with(state, i, plain))
        ready = leader.commit == len(leader.log) and leader.log[-1][0] == leader.term
        if i == NEWCOMER or _named(leader.log) or not ready or new.log != leader.log:
            return
        for flag in sorted({state.heard, new.flag} - {0}):
            longer = leader._replace(log=(*leader.log, (leader.term, flag)))
            after = _with(state, i, longer)._replace(heard=new.flag)
            yield Step("add", f"at {i}, flag {flag}", after)

    def _commit(self, state: State, i: int) -> Iterator[Step[State]]:
        leader = state.nodes[i]
        members = self._members(state, leader.log)
        for index in range(len(leader.log), leader.commit, -1):
            if leader.log[index - 1][0] != leader.term:
                return
            prefix = leader.log[:index]
            holders = [
                j
                for j in members
                if state.nodes[j].log[:index] == prefix
                and state.nodes[j].term == leader.term
                and (j == i or self._counts(state, i, j))
            ]
            if 2 * len(holders) <= len(members):
                continue
            same = min(index, len(state.committed))
            if prefix[:same] != state.committed[:same]:
                sentence = f"{i} commits another entry in the place of one that was answered"
                yield Step("commit", f"of {index} by {i}", Broken(sentence))
                return
            after = _with(state, i, leader._replace(commit=index))
            committed = max(prefix, state.committed, key=len)
            yield Step("commit", f"of {index} by {i}", after._replace(committed=committed))
            return

    def _replicate(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node j hears everything that leader i has, and what is committed."""
        leader, node = state.nodes[i], state.nodes[j]
        if node.term > leader.term:
            return
        heard = Node(leader.term, leader.log, False, leader.commit, node.flag)
        if heard != node:
            after = _with(state, j, heard)
            if j == NEWCOMER and node.flag:
                after = after._replace(heard=node.flag)
            yield Step("replicate", f"{i} to {j}", after)


def _named(log: Log) -> int:
    """The flag that the newcomer was added with, 0 where it was not."""
    return next((flag for _, flag in log if flag is not None), 0)


def _place(log: Log) -> int:
    return next(place for place, (_, flag) in enumerate(log, 1) if flag is not None)


def _last(log: Log) -> tuple[int, int]:
    """What decides whose log is newer; an empty log is the oldest."""
    return (log[-1][0] if log else 0), len(log)


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
