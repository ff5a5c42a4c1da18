"""The simulated connections keep what `PeerNetwork` promises."""

from __future__ import annotations

from typing import Any

from chaos.sim.clocks import Clock
from chaos.sim.executors import Executor
from chaos.sim.fabric import Fabric
from chaos.sim.network import SimNetwork
from chaos.sim.node_loop import NodeLoop
from chaos.sim.world import World


class Node:
    """A network, and all that it was told."""

    def __init__(self, rig: Rig, name: str, cluster: str) -> None:
        self.rig, self.name, self.cluster = rig, name, cluster
        self.heard: list[tuple[str, bytes]] = []
        self.events: list[tuple[str, str]] = []
        self.start()

    def start(self) -> None:
        """A process."""
        rig, name = self.rig, self.name
        rig.fabric.off.discard(name)
        rig.lives += 1
        self.loop = NodeLoop(  # type: ignore[abstract]
            rig.world,
            Clock(lambda: rig.world.now, 0.0, 1.0),
            name,
            Executor(rig.world, "spare", lambda: 0.0),
            lambda text, error: rig.world.violate(f"{text} {error!r}"),
        )
        self.network: SimNetwork = self.loop.call_now(self._make)
        self.network.set_peers(rig.addresses)
        self.loop.create_task(self.network.start(name, 1))

    def _make(self) -> SimNetwork:
        def note(kind: str) -> Any:
            return lambda peer: self.events.append((kind, peer))

        return SimNetwork(
            self.name,
            self.rig.fabric,
            self.rig.world.generator(self.name, self.rig.lives),
            self.name,
            self.cluster,
            f"disk of {self.name}",
            None,
            lambda peer, message: self.heard.append((peer, message)),
            note("up"),
            note("down"),
            on_hello=lambda peer: self.events.append(("hello", peer.node_id)),
            on_silence=note("silence"),
        )

    def die(self, *, vanish: bool) -> None:
        self.network.die(vanish=vanish)
        self.loop.kill()
        if vanish:
            self.rig.fabric.off.add(self.name)


class Rig:
    """Two or more nodes on one fabric."""

    def __init__(self, *names: str, clusters: dict[str, str] | None = None) -> None:
        self.world = World(3)
        self.fabric = Fabric(self.world)
        self.lives = 0
        self.addresses = {name: f"{name}:1" for name in names}
        self.fabric.machine_of.update({f"{name}:1": name for name in names})
        self.nodes = [Node(self, name, (clusters or {}).get(name, "c")) for name in names]

    def run(self, secs: float) -> None:
        self.world.run_until(self.world.now + secs)


def test_both_connect_and_messages_come_in_order() -> None:
    rig = Rig("a", "b")
    a, b = rig.nodes
    rig.run(1.0)
    assert a.network.connected() == {"b"}
    assert a.network.heard_from() == {"b"}
    for number in range(50):
        assert a.network.send("b", bytes([number]))
    rig.run(1.0)
    assert b.heard == [("a", bytes([number])) for number in range(50)]
    assert ("hello", "a") in b.events


def test_other_clusters_are_refused() -> None:
    rig = Rig("a", "b", clusters={"a": "one", "b": "two"})
    rig.run(2.0)
    assert all(not node.network.connected() for node in rig.nodes)
    rig.nodes[0].network.set_cluster("two")
    rig.run(1.0)
    assert rig.nodes[0].network.connected() == {"b"}


def test_a_crashed_process_is_noticed_at_once_and_dialled_when_it_is_back() -> None:
    rig = Rig("a", "b")
    a, b = rig.nodes
    rig.run(1.0)
    b.die(vanish=False)
    rig.run(0.01)
    assert a.events[-2:] in ([("down", "b"), ("silence", "b")], [("silence", "b"), ("down", "b")])
    assert not a.network.send("b", b"x")
    b.start()
    rig.run(0.3)
    assert a.network.connected() == {"b"}


def test_of_a_vanished_machine_nothing_is_heard_until_it_is_back() -> None:
    rig = Rig("a", "b")
    a, b = rig.nodes
    rig.run(1.0)
    before = list(a.events)
    b.die(vanish=True)
    a.network.send("b", b"into the dark")
    rig.run(3.0)
    assert a.events == before
    b.start()
    rig.run(0.4)
    a.network.send("b", b"to the old connection")
    rig.run(0.5)
    assert ("down", "b") in a.events
    assert b.heard == []
    assert a.network.send("b", b"new")
    rig.run(0.1)
    assert b.heard == [("a", b"new")]


def test_a_stalled_connection_is_given_up() -> None:
    rig = Rig("a", "b")
    a, b = rig.nodes
    rig.run(1.0)
    b.die(vanish=True)
    a.network.send("b", b"x")
    rig.run(10.5)
    assert ("down", "b") in a.events
    assert ("silence", "b") in a.events


def test_a_partition_holds_messages_up_and_keeps_their_order() -> None:
    rig = Rig("a", "b")
    a, b = rig.nodes
    rig.run(1.0)
    rig.fabric.cut("a", "b")
    for number in range(10):
        a.network.send("b", bytes([number]))
    b.network.send("a", b"the other way")
    rig.run(2.0)
    assert b.heard == []
    assert a.heard == [("b", b"the other way")]
    rig.fabric.heal("a", "b")
    for number in range(10, 20):
        a.network.send("b", bytes([number]))
    rig.run(1.0)
    assert [message[0] for _, message in b.heard] == list(range(20))


def test_a_broken_connection_loses_what_is_under_way() -> None:
    rig = Rig("a", "b")
    a, b = rig.nodes
    rig.run(1.0)
    rig.fabric.cut("a", "b")
    a.network.send("b", b"lost")
    (link,) = [link for link in a.network.links() if link.source is a.network]
    link.break_off()
    rig.run(0.1)
    rig.fabric.heal("a", "b")
    rig.run(3.0)
    assert b.heard == []
    assert a.network.connected() == {"b"}


def test_reading_can_be_paused() -> None:
    rig = Rig("a", "b")
    a, b = rig.nodes
    rig.run(1.0)
    b.network.pause_reading("a")
    for number in range(3):
        a.network.send("b", bytes([number]))
    rig.run(0.5)
    assert b.heard == []
    b.network.resume_reading("a")
    assert [message[0] for _, message in b.heard] == [0, 1, 2]
