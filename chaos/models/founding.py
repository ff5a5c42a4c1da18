"""How three empty nodes become one cluster, whatever crashes or is wiped meanwhile (A9).

The rule: the lowest node mints a cluster id and sends *prepare*; an answer carries the disk id;
when all have answered, the minter syncs its own *formed* record, which lists the disk ids, before
it sends *formed*. Only formed nodes vote. A prepared node takes a newer prepare; meeting a formed
node it takes over that id and votes if its own disk id is listed, else it is non-voting. A folder
with data but without its founding file is refused.

State: three nodes (cluster id, stage, vote, disk id, disk ids known, whether it holds what was
acknowledged), messages on the wire, which outlive a crash or a wipe of either end, and whether
anything was acknowledged. One acknowledged entry stands for all: two voting nodes of one cluster
commit it, and both have it then.

Bound: two cluster ids, two messages on the wire, two crashes, one wiped disk, the founding files of
all nodes lost once. Node 0 mints.

Two voters may never commit without knowing of what was acknowledged before; and all three become
voters of one cluster, unless the ids of this bound are used up.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

IDS = 2
WIRE_MAX = 2
CRASHES = 2
WIPES = 1
NODES = range(3)
MINTER = 0

Disk = tuple[int, int]
NO_DISKS: frozenset[Disk] = frozenset()


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    FORMED_BEFORE_SYNC = "*formed* is sent before the minter has synced its own record"
    PREPARED_VOTES = "a prepared node votes"
    SAME_ID_VOTES = "a prepared node votes when it meets its cluster, listed or not"
    EMPTY_VOTES = "an empty node that meets a formed one votes"
    KEEPS_FIRST_PREPARE = "a prepared node does not take a newer prepare"
    KEEPS_OTHER_ID = "a prepared node keeps its id when it meets a formed node of another cluster"
    FORMS_WITH_MAJORITY = "the minter forms the cluster when a majority has answered"
    FILE_LOST_IS_EMPTY = "a folder with data, but without its founding file, is taken for empty"


class Node(NamedTuple):
    """`stage` is empty, prepared, formed or refused; `disks` are answers until it is formed."""

    cluster: int
    stage: str
    votes: bool
    disk: int
    disks: frozenset[Disk]
    has: bool


class Letter(NamedTuple):
    """`kind` is prepare, answer or formed; `disks` of an answer is the disk of its sender."""

    kind: str
    to: int
    cluster: int
    disks: frozenset[Disk]


class State(NamedTuple):
    """The nodes, the wire, how many ids were minted, and what faults are left."""

    nodes: tuple[Node, ...]
    wire: frozenset[Letter]
    minted: int
    acknowledged: bool
    crashes: int
    wipes: int
    mishaps: int


class Model:
    """Founding, with crashes at any step and one disk lost at any moment."""

    milestones = frozenset({"mint", "prepare", "form", "meet", "commit", "rejoin", "wipe", "crash"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.ids = IDS + wider
        self.crashes = CRASHES + wider

    def initial(self) -> Iterator[State]:
        """Three empty disks."""
        nodes = tuple(Node(0, "empty", False, 0, NO_DISKS, False) for _ in NODES)
        yield State(nodes, frozenset(), 0, False, self.crashes, WIPES, 1)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def settled(self, state: object) -> bool:
        """All vote in one cluster, or the run cannot tell any more."""
        assert isinstance(state, State)
        first = state.nodes[0]
        if first.stage == "refused" or (state.minted == self.ids and first.stage == "empty"):
            return True
        return all(node.votes and node.cluster == first.cluster for node in state.nodes)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Faults, the minter, the wire, and meetings of two nodes."""
        for i in NODES:
            yield from self._fail(state, i)
        yield from self._lose_files(state)
        yield from self._mint(state)
        for letter in sorted(state.wire, key=lambda each: (each[:3], sorted(each.disks))):
            yield self._deliver(state._replace(wire=state.wire - {letter}), letter)
        for i in NODES:
            for j in NODES:
                if i != j:
                    yield from self._meet(state, i, j)
                    yield from self._commit(state, i, j)
                    yield from self._rejoin(state, i, j)

    def _fail(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        if state.crashes and node.stage != "empty":
            # Answers are kept in memory until the formed record lists them.
            disks = node.disks if node.stage == "formed" else NO_DISKS
            fallen = _with(state, i, node._replace(disks=disks))
            after = fallen._replace(crashes=state.crashes - 1)
            if fallen != state:
                yield Step("crash", f"of {i}", after, fault=True)
        if state.wipes and node.stage != "empty":
            empty = Node(0, "empty", False, node.disk + 1, NO_DISKS, False)
            after = _with(state, i, empty)._replace(wipes=state.wipes - 1)
            yield Step("wipe", f"disk of {i}", after, fault=True)

    def _lose_files(self, state: State) -> Iterator[Step[State]]:
        """The founding files of all nodes are gone; logs and states are there."""
        if not state.mishaps or not all(node.has for node in state.nodes):
            return
        stage = "empty" if self.wording is Wording.FILE_LOST_IS_EMPTY else "refused"
        lost = tuple(Node(0, stage, False, node.disk + 1, NO_DISKS, False) for node in state.nodes)
        after = state._replace(nodes=lost, wire=frozenset(), crashes=0, wipes=0, mishaps=0)
        yield Step("misplace", "founding files of all", after, fault=True)

    def _mint(self, state: State) -> Iterator[Step[State]]:
        minter = state.nodes[MINTER]
        if minter.stage == "empty" and state.minted < self.ids:
            minted = minter._replace(cluster=state.minted + 1, stage="prepared")
            after = _with(state, MINTER, minted)._replace(minted=state.minted + 1)
            yield Step("mint", f"cluster {state.minted + 1}", after)
        if minter.stage != "prepared":
            return
        yield from self._send(state, "prepare", minter.cluster, NO_DISKS)
        disks = minter.disks | {(MINTER, minter.disk)}
        needed = 2 if self.wording is Wording.FORMS_WITH_MAJORITY else len(NODES)
        if len(disks) >= needed:
            formed = minter._replace(stage="formed", votes=True, disks=disks)
            yield Step("form", f"cluster {minter.cluster} (synced)", _with(state, MINTER, formed))
            if self.wording is Wording.FORMED_BEFORE_SYNC:
                yield from self._send(state, "formed", minter.cluster, disks)

    @staticmethod
    def _send(
        state: State, kind: str, cluster: int, disks: frozenset[Disk]
    ) -> Iterator[Step[State]]:
        for j in NODES:
            letter = Letter(kind, j, cluster, disks)
            if j != MINTER and len(state.wire) < WIRE_MAX and letter not in state.wire:
                yield Step("send", f"{kind} to {j}", state._replace(wire=state.wire | {letter}))

    def _deliver(self, state: State, letter: Letter) -> Step[State]:
        node, detail = state.nodes[letter.to], f"{letter.kind} at {letter.to}"
        if letter.kind == "formed" and node.stage == "prepared":
            return Step("form", detail, self._take_over(state, letter.to, letter))
        if letter.kind == "answer" and node.stage == "prepared" and node.cluster == letter.cluster:
            (sender, _), *_ = letter.disks
            disks = frozenset(disk for disk in node.disks if disk[0] != sender) | letter.disks
            return Step("answer", detail, _with(state, letter.to, node._replace(disks=disks)))
        takes = node.stage == "empty" or (
            node.stage == "prepared"
            and (node.cluster == letter.cluster or self.wording is not Wording.KEEPS_FIRST_PREPARE)
        )
        if letter.kind == "prepare" and takes:
            prepared = node._replace(cluster=letter.cluster, stage="prepared")
            answer = Letter("answer", MINTER, letter.cluster, frozenset({(letter.to, node.disk)}))
            after = _with(state, letter.to, prepared)
            return Step("prepare", detail, after._replace(wire=after.wire | {answer}))
        return Step("ignore", detail, state)

    def _meet(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Formed node i meets j, which is not formed yet; this is also how *formed* is sent."""
        formed, node = state.nodes[i], state.nodes[j]
        if formed.stage != "formed" or node.stage not in ("empty", "prepared"):
            return
        other = node.stage == "prepared" and node.cluster != formed.cluster
        if other and self.wording is Wording.KEEPS_OTHER_ID:
            return
        letter = Letter("formed", j, formed.cluster, formed.disks)
        yield Step("meet", f"{j} meets {i}", self._take_over(state, j, letter))

    def _take_over(self, state: State, j: int, letter: Letter) -> State:
        node, wording = state.nodes[j], self.wording
        votes = (j, node.disk) in letter.disks
        if wording is Wording.SAME_ID_VOTES and node.stage == "prepared":
            votes = votes or node.cluster == letter.cluster
        if wording is Wording.EMPTY_VOTES and node.stage == "empty":
            votes = True
        formed = Node(letter.cluster, "formed", votes, node.disk, letter.disks, node.has)
        return _with(state, j, formed)

    def _commit(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Two voters commit; one of them must know of what was acknowledged."""
        first, second = state.nodes[i], state.nodes[j]
        if first.cluster != second.cluster or not (self._votes(first) and self._votes(second)):
            return
        detail = f"by {i} and {j} of cluster {first.cluster}"
        if state.acknowledged and not first.has and not second.has:
            sentence = f"{i} and {j} commit without what was acknowledged"
            yield Step("commit", detail, Broken(sentence))
            return
        after = _with(state, i, first._replace(has=True))
        after = _with(after, j, second._replace(has=True))._replace(acknowledged=True)
        if after != state:
            yield Step("commit", detail, after)

    def _votes(self, node: Node) -> bool:
        early = self.wording is Wording.PREPARED_VOTES and node.stage == "prepared"
        return node.votes or early

    def _rejoin(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Non-voting j catches up and votes again, after i and the third committed (A8)."""
        k = sum(NODES) - i - j
        leader, node, third = state.nodes[i], state.nodes[j], state.nodes[k]
        if node.stage != "formed" or node.votes or not leader.votes or not third.votes:
            return
        if not leader.cluster == node.cluster == third.cluster:
            return
        has = leader.has or third.has
        after = _with(state, j, node._replace(votes=True, has=has))
        after = _with(after, i, leader._replace(has=has))
        yield Step("rejoin", f"of {j} by {i}", _with(after, k, third._replace(has=has)))


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
