"""Nodes that send each other snapshots, on a loop whose time stands still, over connections that
lie in a test's hand, with states of dictionaries; nothing sleeps and no thread runs.

    world.run()              everything that is due: messages arrive, disks answer
    world.advance(secs)      time passes in steps of a driver's round
    world.cut(a, b)          the connections between the two are lost, and there again
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from cluster.replication.snapshots.exchange import SnapshotExchange
from cluster.replication.snapshots.messages import Message, Why, decode, encode
from cluster.replication.snapshots.receiver import SnapshotReceiver
from cluster.replication.snapshots.sender import SnapshotSender
from taskq.pairs import pack_pair, unpack_pairs

ROUND_SECS = 0.25


class Loop(asyncio.SelectorEventLoop):
    """Its time stands still until the test moves it."""

    now = 100.0

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        for _ in range(4):
            self.call_soon(self.stop)
            self.run_forever()


class Desk(Executor):
    """Runs what it is given, one after the other, a step at a time; nothing while `held`."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self.held = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((partial(fn, *args, **kwargs), future))
        return future

    def step(self) -> bool:
        if self.held or not self.waiting:
            return False
        work, future = self.waiting.popleft()
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001  # an executor hands on every error
            future.set_exception(error)
        return True


class Export:
    """A state as it was."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.index, self.terms, self.digest = node.index, (1, 1), 7
        self._pairs = deque(sorted(node.pairs.items()))
        node.exports_open += 1
        self.closed = False

    def read(self, size: int) -> bytes:
        assert not self.closed, "read after it was closed"
        self.node.fail_if_told("read")
        self.node.thread_secs += self.node.read_secs
        data = b""
        while self._pairs and len(data) < size:
            data += pack_pair(*self._pairs.popleft())
        return data

    def close(self) -> None:
        self.node.exports_open -= not self.closed
        self.closed = True


class Building:
    """A state that is built aside."""

    def __init__(self, node: Node, index: int) -> None:
        node.fail_if_told("begin")
        assert node.building is None, "two states are built at once"
        node.building = self
        self.node, self.index = node, index
        self.pairs: dict[bytes, bytes] = {}

    def add(self, chunk: bytes) -> None:
        assert self.node.building is self, "added to a state that is gone"
        self.node.fail_if_told("add")
        last = max(self.pairs, default=None)
        self.pairs.update(unpack_pairs(chunk, last))

    def finish(self) -> None:
        assert self.node.building is self, "finished a state that is gone"
        self.node.fail_if_told("finish")
        self.node.ready = self

    def discard(self) -> None:
        self.node.fail_if_told("discard")
        if self.node.building is self:
            self.node.building = self.node.ready = None


class Node:
    """One member. `pairs` at `index` is its state, `applied` may be above; `events` is what it was
    told, in order; `told`: errors that the next calls of the disk raise; `on_ended(peer)`: what it
    does when a transfer ended for good."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.index = self.applied = 0
        self.term = 5
        self.pairs: dict[bytes, bytes] = {}
        self.building: Building | None = None
        self.ready: Building | None = None
        self.exports_open = 0
        self.events: list[tuple[Any, ...]] = []
        self.on_ended: Callable[[str], None] = lambda peer: None
        self.lives = 0
        self.installs = True
        self.told: dict[str, Exception] = {}
        self.desk = Desk()
        self.read_secs = self.thread_secs = 0.0  # a read takes, all reads have taken
        self.sender = SnapshotSender(
            self.send,
            lambda: Export(self),
            self.desk,
            on_installed=lambda peer, index: self.events.append(("installed", peer, index)),
            on_ended=self.ended,
            on_failure=lambda error: self.events.append(("failure", error)),
            thread_secs=lambda: self.thread_secs,
        )
        self.receiver = SnapshotReceiver(
            self.send,
            lambda index, terms, digest: Building(self, index),
            self.desk,
            lambda: self.applied,
            on_ready=self.on_ready,
            on_life=self.on_life,
            on_failure=lambda error: self.events.append(("failure", error)),
        )
        self.exchange = SnapshotExchange(self.sender, self.receiver)

    def fail_if_told(self, name: str) -> None:
        error = self.told.pop(name, None)
        if error is not None:
            raise error

    def fill(self, index: int, count: int, size: int = 1000) -> None:
        """The state at `index` has so many pairs, made from the index."""
        self.index = self.applied = index
        self.pairs = {b"%06d" % n: (b"%d/%d " % (index, n)).ljust(size, b".") for n in range(count)}

    def send(self, peer: str, data: bytes) -> bool:
        return self.world.send(self.name, peer, data)

    def ended(self, peer: str, why: Why, applied: int) -> None:
        self.events.append(("ended", peer, why, applied))
        self.on_ended(peer)

    def on_life(self) -> None:
        self.lives += 1

    def on_ready(self, index: int) -> None:
        self.events.append(("ready", index))
        if self.installs:
            self.install()

    def install(self) -> None:
        """What a replica does: the folder is opened again."""
        self.reopen()
        self.receiver.installed()

    def reopen(self) -> None:
        """Swaps in what is ready; what is not whole is gone."""
        if self.ready is not None:
            assert self.ready.index >= self.index, "the state went back"
            self.pairs, self.index = self.ready.pairs, self.ready.index
            self.applied = max(self.applied, self.index)
        self.building = self.ready = None


class World:
    """See the module. `log`: what nodes said; `on_send(count)` is called after each of it; `down`:
    pairs without a connection; `crash`: for a test to set."""

    def __init__(self, *names: str) -> None:
        self.loop = Loop()
        self.links: dict[tuple[str, str], deque[bytes]] = {}
        self.log: list[tuple[str, str, Message]] = []
        self.down: set[frozenset[str]] = set()
        self.crash = False
        self.on_send: Callable[[int], None] = lambda count: None
        self.nodes = self.loop.run_until_complete(self._make(names))

    async def _make(self, names: tuple[str, ...]) -> dict[str, Node]:
        return {name: Node(self, name) for name in names}

    def close(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def send(self, source: str, target: str, data: bytes) -> bool:
        if frozenset((source, target)) in self.down:
            return False
        self.links.setdefault((source, target), deque()).append(data)
        self.log.append((source, target, decode(data)))
        self.loop.call_soon(self.on_send, len(self.log))
        return True

    def put(self, source: str, target: str, message: Message) -> None:
        """Something that no node of ours said."""
        self.links.setdefault((source, target), deque()).append(encode(message))

    def _round(self) -> Iterator[None]:
        """One message of each connection arrives, each disk does one thing; a step for each."""
        for source, target in list(self.links):
            link = self.links[source, target]
            if link:
                node = self.nodes[target]
                node.exchange.receive(source, link.popleft(), node.term)
                self.loop.settle()
                yield
        for node in list(self.nodes.values()):
            if node.desk.step():
                self.loop.settle()
                yield

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Until nothing more happens, or `until` says so, which is asked after every deed."""
        self.loop.settle()
        for _ in range(10_000):
            deeds = 0
            if until():
                return
            for _ in self._round():
                deeds += 1
                if until():
                    return
            if not deeds:
                return
        raise AssertionError("does not come to rest")

    def advance(self, secs: float) -> None:
        end = self.loop.now + secs
        while self.loop.now < end:
            self.run()
            self.loop.now += ROUND_SECS
            for node in self.nodes.values():
                node.sender.wake(self.loop.now)
        self.run()

    def cut(self, one: str, other: str) -> None:
        """What is under way between the two is lost, both notice, and they meet again."""
        for pair in ((one, other), (other, one)):
            self.links.get(pair, deque()).clear()
        for node, peer in ((one, other), (other, one)):
            self.nodes[node].exchange.peer_lost(peer)

    def said(self, kind: type) -> list[Any]:
        """Every message of that kind, in order."""
        return [message for _, _, message in self.log if isinstance(message, kind)]

    def restart(self, name: str) -> None:
        """The process is killed and starts again: what was written and whole is there."""
        old = self.nodes[name]
        for other in self.nodes:
            if other != name:
                for pair in ((name, other), (other, name)):
                    self.links.get(pair, deque()).clear()
        new = self.loop.run_until_complete(self._make((name,)))[name]
        new.pairs, new.index, new.applied = old.pairs, old.index, old.applied
        new.ready, new.term = old.ready, old.term
        new.reopen()
        self.nodes[name] = new
        for other, node in self.nodes.items():
            if other != name:
                node.exchange.peer_lost(name)


def ends(node: Node) -> list[Why]:
    """Why transfers ended for good, as the node was told."""
    return [event[2] for event in node.events if event[0] == "ended"]
