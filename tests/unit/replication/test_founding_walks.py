"""Founding under random interleavings of messages, half-taken steps, crashes and lost disks.

The real `Founding` objects of three nodes run in a world where messages outlive their senders and a
crash falls between any two steps. As in `chaos/models/founding.py`, one acknowledged entry stands
for all: two voters of one cluster commit it, and nobody may ever commit without knowing of it. At
the end all faults cease, and all three must become voters of one cluster. Each unsafe wording of
the rule is a subclass that the same walks catch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from cluster.replication.founding import Founding, Save, Send, Step
from cluster.replication.founding_letters import Formed, Prepare
from cluster.replication.founding_record import FoundingRecord, Stage

SET = ("a", "b", "c")
MEMBERS = {name: f"{name}:1" for name in SET}
WIRE_MAX = 8
WALKS = 400
STEPS = 250
CRASHES, WIPES = 3, 1


class Broken(AssertionError):
    """What must never happen did."""


@dataclass
class Node:
    """A disk (record, disk id, whether it holds what was acknowledged, votes again) and a process
    (the object and the steps that it has not taken yet)."""

    name: str
    disk: int = 0
    record: FoundingRecord = field(default_factory=FoundingRecord)
    has: bool = False
    healed: bool = False  # caught up after its disk was lost (A8)
    process: Founding = field(init=False)
    queue: list[Step] = field(default_factory=list)

    @property
    def disk_id(self) -> str:
        return f"{self.name}{self.disk}"


class World:
    """Three nodes, the wire, and what faults are left."""

    def __init__(self, kind: type[Founding], seed: int) -> None:
        self.random = random.Random(seed)
        self.kind = kind
        self.minted = 0
        self.wire: list[tuple[str, str, bytes]] = []  # from, to, message
        self.acknowledged = False
        self.crashes, self.wipes = CRASHES, WIPES
        self.nodes = {name: Node(name) for name in SET}
        self.deeds: set[str] = set()
        # Every walk has habits of its own: rare orders are common in some of them.
        habits: list[tuple[Callable[[Node], None], tuple[int, ...]]] = [
            (self.take, (8, 16)),
            (self.deliver, (4, 8, 16)),
            (self.wake, (1, 2)),
            (self.meet, (0, 1, 4)),
            (self.drop, (0, 1)),
            (self.commit, (2, 8)),
            (self.rejoin, (0, 1)),
            (self.crash, (0, 1, 2)),
            (self.wipe, (0, 4, 16)),
        ]
        self.able = [deed for deed, _ in habits]
        self.weights = [self.random.choice(weights) for _, weights in habits]
        self.again = self.random.choice((0.0, 0.2, 0.6))
        for node in self.nodes.values():
            self.start(node)

    def mint(self) -> str:
        self.minted += 1
        return f"cluster{self.minted}"

    def start(self, node: Node) -> None:
        node.process = self.kind(node.name, MEMBERS, node.disk_id, node.record, self.mint)
        node.queue = []

    # --- what may happen --------------------------------------------------------------------------

    def step(self) -> None:
        deed = self.random.choices(self.able, self.weights)[0]
        deed(self.nodes[self.random.choice(SET)])

    def take(self, node: Node) -> None:
        """One step is carried out; only then the next."""
        if not node.queue:
            busy = [other for other in self.nodes.values() if other.queue]
            if not busy:
                return
            node = self.random.choice(busy)
        step = node.queue.pop(0)
        if isinstance(step, Save):
            self.deeds.add(step.record.stage.value)
            node.record = step.record
        elif len(self.wire) < WIRE_MAX:
            self.wire.append((node.name, step.peer_id, step.message))

    def deliver(self, _: Node) -> None:
        if self.wire:
            place = self.random.randrange(len(self.wire))
            sender, to, message = self.wire[place]
            # What is said again and again is on its way more than once.
            if self.random.random() >= self.again:
                self.wire.pop(place)
            self.nodes[to].queue += self.nodes[to].process.receive(sender, message)

    def drop(self, _: Node) -> None:
        if self.wire:
            self.wire.pop(self.random.randrange(len(self.wire)))

    def wake(self, node: Node) -> None:
        node.queue += node.process.wake(0.0)

    def meet(self, node: Node) -> None:
        peer = self.random.choice([name for name in SET if name != node.name])
        node.queue += node.process.connected(peer)

    def crash(self, node: Node) -> None:
        # Rather amid its steps than between them.
        if self.crashes and (node.queue or self.random.random() < 0.2):
            self.crashes -= 1
            self.deeds.add("crash")
            self.start(node)

    def wipe(self, node: Node) -> None:
        # Rather one with something to lose.
        holders = [other for other in self.nodes.values() if other.has]
        node = self.random.choice(holders) if holders else node
        if self.wipes and (holders or self.random.random() < 0.02):
            self.wipes -= 1
            self.deeds.add("wipe")
            node.disk, node.record = node.disk + 1, FoundingRecord()
            node.has = node.healed = False
            self.start(node)

    # --- what forming is for ----------------------------------------------------------------------

    def votes(self, node: Node) -> bool:
        """By the disk: whatever is not saved yet is not acted upon."""
        if node.record.stage is Stage.PREPARED and self.kind is PreparedVotes:
            return True
        founding = self.kind(node.name, MEMBERS, node.disk_id, node.record, self.mint)
        return founding.formed and (founding.listed or node.healed)

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.nodes.values() if other is not node]

    def commit(self, node: Node) -> None:
        peer = self.random.choice(self.others(node))
        if node.record.cluster_id != peer.record.cluster_id:
            return
        if not (self.votes(node) and self.votes(peer)):
            return
        if self.acknowledged and not (node.has or peer.has):
            raise Broken(f"{node.name} and {peer.name} commit without what was acknowledged")
        self.deeds.add("commit")
        self.acknowledged = node.has = peer.has = True

    def rejoin(self, node: Node) -> None:
        """A non-voting node catches up after the two others committed."""
        same = {one.record.cluster_id for one in self.nodes.values()}
        if not node.record.formed or self.votes(node) or len(same) != 1:
            return
        first, second = self.others(node)
        if self.votes(first) and self.votes(second):
            self.commit_by(first, second)
            self.deeds.add("rejoin")
            node.has = node.healed = True

    def commit_by(self, first: Node, second: Node) -> None:
        if self.acknowledged and not (first.has or second.has):
            raise Broken("a node rejoins a cluster without what was acknowledged")
        self.acknowledged = first.has = second.has = True

    def settle(self) -> None:
        """No more faults: everything is delivered, and everybody says what he has to say."""
        for _ in range(20):
            for node in self.nodes.values():
                self.wake(node)
            for _ in range(400):
                for node in self.nodes.values():
                    self.take(node)
                self.deliver(self.nodes["a"])
            for node in self.nodes.values():
                self.rejoin(node)
            if self.settled():
                return
        raise Broken("the nodes never became one cluster")

    def settled(self) -> bool:
        clusters = {node.record.cluster_id for node in self.nodes.values()}
        return len(clusters) == 1 and all(self.votes(node) for node in self.nodes.values())


def walk(kind: type[Founding], seed: int) -> set[str]:
    """One life of three nodes; what came up in it. Raises Broken."""
    world = World(kind, seed)
    for _ in range(STEPS):
        world.step()
    world.settle()
    return world.deeds


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Thousands of lives say much."""
    with capture_logs():
        yield


def test_three_nodes_become_one_cluster_whatever_crashes() -> None:
    deeds: set[str] = set()
    for seed in range(WALKS):
        deeds |= walk(Founding, seed)
    assert deeds == {"prepared", "formed", "crash", "wipe", "commit", "rejoin"}


# --- what each unsafe wording gets wrong ----------------------------------------------------------


class FormedBeforeSync(Founding):
    """*formed* is sent before the minter has synced its own record."""

    def _form(self) -> list[Step]:
        steps = super()._form()
        sends = [step for step in steps if isinstance(step, Send)]
        return sends + [step for step in steps if isinstance(step, Save)]


class PreparedVotes(Founding):
    """A prepared node votes: see `World.votes`."""


class SameIdVotes(Founding):
    """A prepared node votes when it meets its cluster, listed or not."""

    def _take_over(self, peer_id: str, formed: Formed) -> list[Step]:
        if self.record.cluster_id == formed.cluster_id:
            disks = {**formed.disks, self._node_id: self._disk_id}
            formed = Formed(formed.cluster_id, disks)
        return super()._take_over(peer_id, formed)


class EmptyVotes(Founding):
    """An empty node that meets a formed one votes."""

    def _take_over(self, peer_id: str, formed: Formed) -> list[Step]:
        if self.record.stage is Stage.EMPTY:
            disks = {**formed.disks, self._node_id: self._disk_id}
            formed = Formed(formed.cluster_id, disks)
        return super()._take_over(peer_id, formed)


class KeepsFirstPrepare(Founding):
    """A prepared node does not take a newer prepare."""

    def _prepared(self, peer_id: str, cluster_id: str, members: tuple[str, ...]) -> list[Step]:
        if self.record.stage is Stage.PREPARED and self.record.cluster_id != cluster_id:
            return []
        return super()._prepared(peer_id, cluster_id, members)


class KeepsOtherId(Founding):
    """A prepared node keeps its id when it meets a formed node of another cluster."""

    def _take_over(self, peer_id: str, formed: Formed) -> list[Step]:
        if self.record.stage is Stage.PREPARED and self.record.cluster_id != formed.cluster_id:
            return []
        return super()._take_over(peer_id, formed)


class FormsWithMajority(Founding):
    """The minter forms the cluster when a majority has answered, and the rest is let in."""

    def _same_set(self, peer_id: str, members: tuple[str, ...]) -> bool:
        return True

    def _complete(self) -> bool:
        return len(self._answers) >= 1


class FormedTakesPrepare(Founding):
    """A formed node takes a prepare like any other."""

    def _receive_formed(self, peer_id: str, letter: object) -> list[Step]:
        if isinstance(letter, Prepare) and letter.cluster_id != self.record.cluster_id:
            return self._prepared(peer_id, letter.cluster_id, letter.members)
        return super()._receive_formed(peer_id, letter)  # type: ignore[arg-type]


UNSAFE = [
    FormedBeforeSync,
    PreparedVotes,
    SameIdVotes,
    EmptyVotes,
    KeepsFirstPrepare,
    KeepsOtherId,
    FormsWithMajority,
    FormedTakesPrepare,
]


@pytest.mark.parametrize("kind", UNSAFE, ids=lambda kind: kind.__name__)
def test_an_unsafe_wording_is_caught(kind: type[Founding]) -> None:
    for seed in range(8 * WALKS):
        try:
            walk(kind, seed)
        except Broken:
            return
    pytest.fail(f"nothing broke: {kind.__doc__}")
