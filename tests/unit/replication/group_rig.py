"""A group of nodes on one loop with a clock of its own: real Raft, journal, consensus, driver and
applier over disks in memory. The test decides what each connection does and when a disk answers.

    group.elect("n1")   group.hold("n1", "n2")   group.deliver("n1", "n2")   group.cut("n1", "n2")
    group.slow.add("n2")   group.crash("n3")   group.tick(0.3)   group.flow()

Within a connection messages come once and in order (A13); across connections in any order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from cluster.replication.messages import Append, Message, decode, encode
from cluster.replication.raft import REGULAR
from cluster.replication.raft_state import LEADER
from taskq.machine.entry import decode_entry
from tests.unit.replication.disk import Disk
from tests.unit.replication.rig import Loop, Rig, spelled

# Entries below the commit index that are looked at after every step.
RECENT = 8

Link = tuple[str, str]  # from, to


class Group:
    """See the module. `nodes`: by id. `slow`: nodes whose disks answer only when told to. `sent`:
    (to, term, index) -> how often that entry was sent to that node."""

    def __init__(self, count: int = 3, *, disks: dict[str, Disk] | None = None) -> None:
        self.loop = Loop()
        self.ids = [f"n{number}" for number in range(1, count + 1)]
        self.queues: dict[Link, deque[bytes]] = {
            (one, other): deque() for one in self.ids for other in self.ids if one != other
        }
        self.held: set[Link] = set()
        self.down: set[str] = set()
        self.closed: set[Link] = set()
        self.ghosts: set[str] = set()
        self.slow: set[str] = set()
        self.doomed: set[str] = set()  # nodes that the test expects to stop
        self.sent: Counter[tuple[str, int, int]] = Counter()
        self.told: list[tuple[str, str, Message]] = []  # everything that was handed to a connection
        self.committed: dict[int, tuple[int, bytes]] = {}
        self.nodes: dict[str, Rig] = {}
        for one in self.ids:
            self.nodes[one] = Rig(
                None if disks is None else disks.get(one),
                loop=self.loop,
                node_id=one,
                others=tuple(other for other in self.ids if other != one),
                transmit=lambda to, data, one=one: self._transmit(one, to, data),  # type: ignore[misc]
            )
        for one, other in self.queues:
            self.nodes[one].consensus.link_up(other)
        for node in self.nodes.values():
            node.driver.start()

    def __getitem__(self, node_id: str) -> Rig:
        return self.nodes[node_id]

    def close(self) -> None:
        """Ends the loop; nothing runs any more."""
        for node_id in self.ids:
            self._end(node_id)
        self.loop.settle()
        self.loop.close()

    # --- the network ------------------------------------------------------------------------------

    def _transmit(self, one: str, other: str, data: bytes) -> bool:
        if (one, other) in self.closed or one in self.down or other in self.down:
            return False
        message = decode(data)
        self.told.append((one, other, message))
        if isinstance(message, Append):
            for place, (term, _) in enumerate(message.entries):
                self.sent[other, term, message.prev_index + 1 + place] += 1
        self.queues[one, other].append(bytes(data))
        return True

    def hold(self, one: str, other: str, *, back: bool = False) -> None:
        """What `one` says to `other` waits until `deliver`, `drop` or `let_go`; with `back`, what
        the other says, too."""
        self.held.add((one, other))
        if back:
            self.held.add((other, one))

    def isolate(self, node_id: str) -> None:
        """A partition that nobody notices: everything to and from the node waits."""
        self.held |= {link for link in self.queues if node_id in link}

    def rejoin(self, node_id: str, *, lost: bool = True) -> None:
        """The partition ends; what waited is lost, or comes now. Lost means new connections."""
        for link in [one for one in sorted(self.held) if node_id in one]:
            self.held.discard(link)
            if lost:
                self.cut(*link)
                self.connect(*link)

    def let_go(self, one: str, other: str) -> None:
        """The connection carries everything again, what waited first."""
        self.held.discard((one, other))

    def waiting(self, one: str, other: str) -> list[Message]:
        """What is on its way."""
        return [decode(data) for data in self.queues[one, other]]

    def deliver(self, one: str, other: str, count: int = 1) -> None:
        """The oldest messages arrive."""
        for _ in range(count):
            self.nodes[other].driver.receive(one, self.queues[one, other].popleft())
        self.loop.settle()

    def drop(self, one: str, other: str) -> None:
        """Everything on its way is gone, and nobody notices: a connection that broke tells both
        ends sooner or later; see `cut`."""
        self.queues[one, other].clear()

    def say(self, one: str, other: str, message: Message) -> None:
        """A message that the test makes up arrives."""
        self.nodes[other].driver.receive(one, encode(message))
        self.loop.settle()

    def cut(self, one: str, other: str) -> None:
        """The connection on which `one` speaks breaks; both ends notice."""
        self.queues[one, other].clear()
        self.closed.add((one, other))
        if one not in self.down:
            self.nodes[one].consensus.link_down(other)
            self.nodes[one].driver.wake()
        if other not in self.down:
            self.nodes[other].consensus.silence(one)
            self.nodes[other].driver.wake()

    def connect(self, one: str, other: str) -> None:
        """A new connection."""
        if one in self.down or other in self.down:
            return
        self.closed.discard((one, other))
        self.nodes[other].consensus.silence(one)  # the new Hello ends the older one
        self.nodes[one].consensus.link_up(other)
        self.nodes[one].driver.wake()

    def crash(self, node_id: str, *, noticed: bool = True) -> None:
        """The process is gone, with every write that did not return and all that was on its way."""
        self._end(node_id)
        self.down.add(node_id)
        for link in self.queues:
            if node_id in link and noticed:
                self.cut(*link)
        self.loop.settle()

    def speak_for(self, *node_ids: str) -> None:
        """From now on the test says what these nodes say; they themselves are gone, and their
        connections are as they were."""
        for node_id in node_ids:
            self.isolate(node_id)
            self._end(node_id)
            self.ghosts.add(node_id)

    def _end(self, node_id: str) -> None:
        driver = self.nodes[node_id].driver
        if driver._timer is not None:
            driver._timer.cancel()
        driver.stopped = True

    def restart(self, node_id: str) -> Rig:
        """A new process on the same disk."""
        node = self.nodes[node_id]
        node.open()
        self.down.discard(node_id)
        for link in self.queues:
            if node_id in link:
                self.cut(*link)
                self.connect(*link)
        node.driver.start()
        self.loop.settle()
        return node

    # --- time -------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Delivers one message on each connection that is not held, and lets each disk that is not
        slow do one thing; whether there was anything."""
        self.loop.settle()
        moved = False
        for one, other in sorted(self.queues):
            if self.queues[one, other] and (one, other) not in self.held:
                self.deliver(one, other)
                moved = True
        for node_id, node in self.nodes.items():
            if node_id not in self.slow | self.down | self.ghosts:
                moved = node.log.finish() or moved
                moved = node.state.finish() or moved
        self.check()
        return moved

    def flow(self, limit: int = 2000) -> None:
        """Until nothing moves but the clocks."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError("the group never comes to rest")

    def tick(self, secs: float, *, steps: int = 1) -> None:
        """Time passes, and what it brings about happens."""
        for _ in range(steps):
            self.loop.now += secs / steps
            for node in self.nodes.values():
                node.wall_secs += secs / steps
            self.flow()

    # --- leadership -------------------------------------------------------------------------------

    def ask(self, node_id: str) -> None:
        """The node's election timer rings now."""
        node = self.nodes[node_id]
        node.consensus.elections.deadline = self.loop.now
        node.driver.wake()
        self.loop.settle()

    def elect(self, node_id: str) -> Rig:
        """At a quiet moment, by an election; no timer of another node rings before."""
        node = self.nodes[node_id]
        self.flow()
        self.ask(node_id)
        self.flow()
        assert node.raft.is_leader, f"{node_id} was not elected"
        return node

    def stands(self, node_id: str) -> None:
        """The node is a candidate now, whatever a pre-vote would say."""
        self.nodes[node_id].consensus.elections.stand()
        self.nodes[node_id].driver.wake()
        self.loop.settle()

    def leaders(self) -> list[str]:
        """Who believes to lead, in the newest term that anybody leads."""
        up = [self.nodes[one] for one in self.ids if one not in self.down]
        leading = [one for one in up if one.raft.role == LEADER]
        newest = max((one.raft.term for one in leading), default=0)
        return [one.node_id for one in leading if one.raft.term == newest]

    def submit(self, node_id: str, tags: Iterable[int]) -> None:
        """Each task in an entry of its own, as far as the disk takes them."""
        for tag in tags:
            self.nodes[node_id].submit(tag)
            self.flow()

    # --- the account ------------------------------------------------------------------------------

    def entries(self, node_id: str) -> list[tuple[int, int, bytes]]:
        """(index, term, command) of the log as the node sees it, flushed or not."""
        journal = self.nodes[node_id].journal
        found = journal.entries(journal.first_index, len(journal))
        return [(index, term, command) for command, index, term in found]

    def stored(self, node_id: str) -> list[Any]:
        """Tags of the commands that the node's log on disk holds now, whoever proposed them."""
        tags = {key: tag for node in self.nodes.values() for key, tag in node.tags.items()}
        found = []
        for _, _, command in self.nodes[node_id].disk.entries():
            if command[:1] == REGULAR:
                found += [tags.get(spelled(one)) for one in decode_entry(command[1:])[2]]
        return found

    def accepted(self) -> set[Any]:
        """Tags that any node has answered, and not refused."""
        return {tag for node in self.nodes.values() for tag in node.accepted()}

    def repeats(self) -> dict[tuple[str, int, int], int]:
        """What was sent to a node more than once."""
        return {key: count for key, count in self.sent.items() if count > 1}

    def check(self) -> None:
        """What must hold at every moment (Raft figure 3): one leader a term, what was committed
        anywhere is never another entry anywhere."""
        leaders: dict[int, str] = {}
        for node_id in self.ids:
            if node_id in self.down | self.ghosts:
                continue
            node = self.nodes[node_id]
            if node.failures:
                assert node_id in self.doomed, f"{node_id} failed: {node.failures}"
                continue
            if node.raft.role == LEADER:
                other = leaders.setdefault(node.raft.term, node_id)
                assert other == node_id, f"{other} and {node_id} lead term {node.raft.term}"
            self._check_committed(node_id, node)

    def _check_committed(self, node_id: str, node: Rig) -> None:
        journal, last = node.journal, min(node.raft.commit_index, node.journal.last_index)
        first = max(journal.first_index, last - RECENT)  # what lies below was looked at before
        for command, index, term in journal.entries(first, last - first + 1):
            known = self.committed.setdefault(index, (term, command))
            assert known == (term, command), f"{node_id} committed another entry {index}"


def refusals(node: Rig) -> dict[Any, Any]:
    """Tag -> what was refused."""
    accepted = node.accepted()
    return {tag: value for tag, value in node.answers.items() if tag not in accepted}
