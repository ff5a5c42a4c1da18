"""Nodes join and leave while the cluster runs (A10, and A4 on who is answered).

The rule: the members are the set in the newest membership entry of the own log, recomputed at
append, truncation and start; the next change waits until the last is committed, and for an entry of
the leader's own term; a leader outside its newest set does not count itself, and steps down when
its removal is committed. Membership decides whose votes and acknowledgements count, not who is
answered.

State: four nodes (term, log, members as it believes, commit index) and what was committed. An entry
is its term and, for a change, the new set. An election is one step in which a smallest majority
votes; a node that is never reached is a step that is not taken.

Bound: terms up to 3, logs of four entries, and up to two changes that are given with each
beginning: three members, 3 to be added and 0 removed; four members, 3 and 0 to be removed;
3 was added and 1 removed, node 0 is down and node 2 behind; 3 was added and 0 removed.

What was committed is never replaced; and with a majority up, some node can be elected and commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

from chaos.models.explore import Broken, Step

TERM_FIRST = 1
TERM_MAX = 3
LOG_MAX = 4
NODES = range(4)

Members = frozenset[int]
# A plain entry changes nothing: its set is None.
Log = tuple[tuple[int, Members | None], ...]


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    TWO_AT_ONCE = "a change does not wait until the last one is committed"
    BEFORE_OWN_ENTRY = "a change is proposed before an entry of the leader's own term is committed"
    REMOVED_COUNTS_ITSELF = "a leader counts itself although its log has removed it"
    OUTSIDERS_COUNT = "acknowledgements of nodes that are no members count"
    RESTART_FORGETS = "after a restart the configured peers are the members, not the log's"
    TRUNCATION_FORGETS = "when a membership entry is cut off, its set stays"
    OUTSIDERS_UNANSWERED = "a node does not answer who is no member of its own set"


class Node(NamedTuple):
    """`members` is what the node goes by; `commit` moves only where it leads."""

    term: int
    log: Log
    leads: bool
    members: Members
    commit: int


class State(NamedTuple):
    """`changes` are nodes to be added or removed, in this order; only nodes that are `up` act."""

    nodes: tuple[Node, ...]
    committed: Log
    changes: tuple[int, ...]
    up: Members


class Model:
    """Elections, replication and changes of the set, one node at a time."""

    milestones = frozenset({"elect", "change", "commit", "step down", "restart", "cut"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.log_max = LOG_MAX + wider

    def initial(self) -> Iterator[State]:
        """See the bound."""
        for members, changes in ((range(3), (3, 0)), (NODES, (3, 0))):
            log: Log = ((1, frozenset(members)),)
            nodes = tuple(
                Node(1, log, i == 0, frozenset(members), 1)
                if i in members
                else Node(1, (), False, frozenset(), 0)
                for i in NODES
            )
            yield State(nodes, log, changes, frozenset(NODES))
        for gone, behind, length in ((1, 2, 1), (0, 0, 2)):
            sets = frozenset({0, 1, 2}), frozenset(NODES), frozenset(NODES) - {gone}
            full: Log = tuple((1, each) for each in sets)
            nodes = tuple(
                Node(1, full[:length], False, sets[length - 1], length)
                if i == behind
                else Node(1, full, False, sets[-1], 3)
                for i in NODES
            )
            down = {0} if gone == 1 else set()
            yield State(nodes, full, (), frozenset(NODES) - down)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def settled(self, state: object) -> bool:
        """A leader has committed in its own term, or the bound is reached."""
        assert isinstance(state, State)
        if any(node.term == TERM_MAX or len(node.log) == self.log_max for node in state.nodes):
            return True
        return any(node.leads and _own_committed(node) for node in state.nodes)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Each node by itself, then each pair."""
        for i in sorted(state.up):
            yield from self._elect(state, i)
            yield from self._restart(state, i)
            if not state.nodes[i].leads:
                continue
            yield from self._append(state, i)
            yield from self._commit(state, i)
            # A node that is to be added is brought up first; one that was removed is left alone.
            reached = state.nodes[i].members | set(state.changes[:1])
            for j in sorted(reached & state.up - {i}):
                yield from self._replicate(state, i, j)

    def _restart(self, state: State, i: int) -> Iterator[Step[State]]:
        """Members are read from the log again, and a leader is none any more."""
        node = state.nodes[i]
        forgets = self.wording is Wording.RESTART_FORGETS
        members = _newest(node.log[:1] if forgets else node.log, node.members)
        fallen = node._replace(leads=False, members=members)
        if fallen != node:
            yield Step("restart", f"of {i}", _with(state, i, fallen), fault=True)

    def _elect(self, state: State, i: int) -> Iterator[Step[State]]:
        """Node i stands in a term that is new to all who vote for it."""
        node, nodes = state.nodes[i], state.nodes
        if node.leads or i not in node.members or len(node.log) >= self.log_max:
            return
        willing = [
            j
            for j in sorted(node.members & state.up - {i})
            if _last(nodes[j].log) <= _last(node.log) and self._answers(nodes[j], i)
        ]
        for voters in combinations(willing, len(node.members) // 2):
            term = 1 + max(nodes[j].term for j in (i, *voters))
            # Nodes 1 and 2 begin alike: whoever of them leads first is called 1.
            mirrored = i == 2 and _last(nodes[1].log) >= _last(node.log)
            if term > TERM_MAX or (term == TERM_FIRST + 1 and mirrored):
                continue
            led = node._replace(term=term, leads=True, log=(*node.log, (term, None)))
            after = _with(state, i, led)
            for j in voters:
                after = _with(after, j, nodes[j]._replace(term=term, leads=False))
            yield Step("elect", f"{i} by {list(voters)} in term {term}", after)

    def _answers(self, node: Node, i: int) -> bool:
        return self.wording is not Wording.OUTSIDERS_UNANSWERED or i in node.members

    def _append(self, state: State, i: int) -> Iterator[Step[State]]:
        """A change of the set by one node, if the rule allows it now; or a plain entry."""
        leader, wording = state.nodes[i], self.wording
        if len(leader.log) >= self.log_max:
            return
        if i not in leader.members:
            # What clients send goes on while the leader waits for its removal.
            longer = leader._replace(log=(*leader.log, (leader.term, None)))
            yield Step("append", f"at {i}", _with(state, i, longer))
        pending = any(members is not None for _, members in leader.log[leader.commit :])
        if not state.changes or (pending and wording is not Wording.TWO_AT_ONCE):
            return
        if not _own_committed(leader) and wording is not Wording.BEFORE_OWN_ENTRY:
            return
        members = _newest(leader.log, leader.members) ^ {state.changes[0]}
        log: Log = (*leader.log, (leader.term, members))
        changed = _with(state, i, leader._replace(log=log, members=members))
        after = changed._replace(changes=state.changes[1:])
        yield Step("change", f"at {i} to {sorted(members)}", after)

    def _commit(self, state: State, i: int) -> Iterator[Step[State]]:
        leader = state.nodes[i]
        for index in range(len(leader.log), leader.commit, -1):
            if leader.log[index - 1][0] != leader.term:
                return
            prefix = leader.log[:index]
            if not self._counted(state, i, prefix):
                continue
            detail, length = f"of {index} by {i}", min(index, len(state.committed))
            if prefix[:length] != state.committed[:length]:
                sentence = f"{i} commits another entry in the place of one that was answered"
                yield Step("commit", detail, Broken(sentence))
                return
            led = leader._replace(commit=index)
            deed = "commit"
            if i not in _newest(prefix, leader.members) and i not in leader.members:
                deed, led = "step down", led._replace(leads=False)
            committed = max(prefix, state.committed, key=len)
            yield Step(deed, detail, _with(state, i, led)._replace(committed=committed))
            return

    def _counted(self, state: State, i: int, prefix: Log) -> bool:
        """Whether a majority of the leader's members holds `prefix`."""
        leader = state.nodes[i]
        holders = {
            j
            for j, node in enumerate(state.nodes)
            if node.term == leader.term and node.log[: len(prefix)] == prefix and j in state.up
        }
        if self.wording is Wording.OUTSIDERS_COUNT:
            counted = holders
        elif self.wording is Wording.REMOVED_COUNTS_ITSELF:
            counted = holders & (leader.members | {i})
        else:
            counted = holders & leader.members
        return 2 * len(counted) > len(leader.members)

    def _replicate(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node j hears everything that leader i has."""
        leader, node = state.nodes[i], state.nodes[j]
        if node.term > leader.term or not self._answers(node, i):
            return
        kept = node.log[: len(leader.log)] == leader.log
        log = node.log if kept else leader.log
        same = 0
        while same < min(len(node.log), len(log)) and node.log[same] == log[same]:
            same += 1
        deed = "cut" if same < len(node.log) and not kept else "replicate"
        members = _newest(log, node.members)
        if self.wording is Wording.TRUNCATION_FORGETS:
            members = _newest(log[same:], node.members)
        heard = Node(leader.term, log, False, members, node.commit)
        if heard != node:
            yield Step(deed, f"{i} to {j}", _with(state, j, heard))


def _own_committed(leader: Node) -> bool:
    return any(term == leader.term for term, _ in leader.log[: leader.commit])


def _newest(log: Log, otherwise: Members | None) -> Members:
    """The set of the newest membership entry in `log`."""
    for _, members in reversed(log):
        if members is not None:
            return members
    assert otherwise is not None
    return otherwise


def _last(log: Log) -> tuple[int, int]:
    """What decides whose log is newer; an empty log is the oldest."""
    return (log[-1][0] if log else 0), len(log)


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
