"""Nodes that talk over loopback, and everybody who wants to get in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle  # noqa: TID251  # thrown at the port, to show that nothing unpickles it
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.replication.peers.frames import (
    CHALLENGE,
    HELLO,
    MESSAGE,
    MESSAGE_SIZE_MAX,
    PROOF,
    FrameReader,
    Sealer,
    pack_frame,
)
from cluster.replication.peers.handshake import Dialling, Refused, Verdict
from cluster.replication.peers.introduction import Introduction, encode_introduction
from cluster.replication.peers.names import Place
from cluster.replication.peers.network import PeerNetwork
from cluster.replication.peers.timings import Timings
from cluster.replication.peers.trust import Trust, trust_certificates, trust_loopback, trust_secret

HOST = "127.0.0.1"
SECRET = trust_secret("a secret of the tests")
# Short enough that the tests of time-outs are quick, long enough for a busy machine.
QUICK = Timings(dial_secs=0.5, handshake_secs=0.5, stall_secs=0.6)


class End:
    """One node's network, and what it heard."""

    def __init__(self, node_id: str, trust: Trust = SECRET, **options: Any) -> None:
        self.node_id = node_id
        self.messages: list[tuple[str, bytes]] = []
        self.events: list[str] = []
        self.failures: list[BaseException] = []
        self.port = 0
        cluster_id = options.pop("cluster_id", "c1")
        self.network = PeerNetwork(
            *(node_id, cluster_id, f"disk-{node_id}", trust),
            lambda peer, message: self.messages.append((peer, message)),
            lambda peer: self.events.append(f"connected {peer}"),
            lambda peer: self.events.append(f"disconnected {peer}"),
            on_hello=lambda peer: self.events.append(f"hello {peer.node_id} {peer.disk_id}"),
            on_silence=lambda peer: self.events.append(f"silence {peer}"),
            on_failure=self.failures.append,
            **options,
        )

    async def start(self, port: int = 0) -> End:
        self.port = await self.network.start(HOST, port)
        return self

    def heard(self) -> list[bytes]:
        return [message for _, message in self.messages]


async def until(done: Callable[[], object], secs: float = 5.0) -> None:
    """Waits for something that must happen."""
    async with asyncio.timeout(secs):
        while not done():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.005)


Make = Callable[..., Awaitable[End]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Starts ends, and stops them after the test."""
    ends: list[End] = []

    async def start(node_id: str, *args: Any, port: int = 0, **options: Any) -> End:
        end = End(node_id, *args, **options)
        ends.append(end)
        return await end.start(port)

    yield start
    for end in ends:
        await end.network.stop()
        assert end.failures == []


def introduce(*ends: End) -> None:
    """All know each other."""
    addresses = {end.node_id: f"{HOST}:{end.port}" for end in ends}
    for end in ends:
        end.network.set_peers(addresses)


async def pair(make: Make, **options: Any) -> tuple[End, End]:
    """Two connected ends."""
    a, b = await make("a", **options), await make("b", **options)
    introduce(a, b)
    await until(lambda: a.network.connected() and b.network.connected())
    return a, b


async def works(sender: End, receiver: End, secs: float = 1.0) -> None:
    """A message gets through, in that time."""
    text = os.urandom(8)
    async with asyncio.timeout(secs):
        while text not in receiver.heard():
            sender.network.send(receiver.node_id, text)
            await asyncio.sleep(0.005)


class Wire:
    """Stands between two nodes: passes on, records, changes, or swallows."""

    def __init__(self) -> None:
        self.port = 0
        self.recorded: list[bytes] = []  # from the dialler, one list for all connections
        self.change: Callable[[bytes], bytes] = lambda data: data
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.writers: list[asyncio.StreamWriter] = []
        self.target = 0

    async def open(self, target: int) -> asyncio.Server:
        self.target = target
        server = await asyncio.start_server(self._carry, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(HOST, self.target)
        self.writers += [writer, away]
        back = asyncio.create_task(self._pump(there, writer, forth=False))
        await self._pump(reader, away, forth=True)
        await back

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, forth: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self.flowing.wait()
                if forth:
                    self.recorded.append(data)
                    data = self.change(data)
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.fixture
async def wire() -> AsyncIterator[Callable[[End], Awaitable[Wire]]]:
    """Makes wires to ends."""
    opened: list[tuple[asyncio.Server, Wire]] = []

    async def lay(target: End) -> Wire:
        one = Wire()
        opened.append((await one.open(target.port), one))
        return one

    yield lay
    for server, one in opened:
        server.close()
        one.flowing.set()
        for writer in one.writers:
            writer.transport.abort()


async def closed_by_peer(reader: asyncio.StreamReader, secs: float = 3.0) -> bytes:
    """Waits until the other side closes; what it said before."""
    said = b""
    async with asyncio.timeout(secs):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                said += data
    return said


# --- friends --------------------------------------------------------------------------------------


async def test_order_is_kept_and_nothing_comes_twice(make: Make) -> None:
    a, b = await pair(make)
    sent = [str(number).encode() * (1 + number % 50) for number in range(3_000)]
    for number, message in enumerate(sent):
        assert a.network.send("b", message)
        assert b.network.send("a", message)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(a.messages) >= 3_000 and len(b.messages) >= 3_000)
    assert a.messages == [("b", one) for one in sent]
    assert b.messages == [("a", one) for one in sent]
    assert a.events.count("connected b") == 1
    assert "hello b disk-b" in a.events


async def test_the_largest_message_and_the_empty_one(make: Make) -> None:
    a, b = await pair(make)
    large = os.urandom(MESSAGE_SIZE_MAX)
    for message in (b"", large, b"after"):
        assert a.network.send("b", message)
    await until(lambda: len(b.messages) == 3)
    assert b.heard() == [b"", large, b"after"]
    with pytest.raises(ValueError, match="at most"):
        a.network.send("b", large + b"1")


async def test_peers_come_and_go_at_run_time(make: Make) -> None:
    a, b = await pair(make)
    c = await make("c")
    assert not a.network.send("c", b"?")
    introduce(a, b, c)
    await until(lambda: a.network.connected() == {"b", "c"})
    await works(a, c)
    await works(c, b)
    b.messages.clear()
    a.network.set_peers({"c": f"{HOST}:{c.port}"})
    await until(lambda: "disconnected b" in a.events and "silence b" in a.events)
    assert not a.network.send("b", b"?")
    await until(lambda: b.network.counts["unknown_node"] > 1)  # it dials and is refused
    assert "b" not in a.network.heard_from()
    await works(a, c)
    with pytest.raises(ValueError, match="HOST:PORT"):
        a.network.set_peers({"b": "nowhere"})
    assert a.network.connected() == {"c"}


async def test_a_peer_restarts_somewhere_else(make: Make) -> None:
    port = 0

    async def resolve(host: str, _: int) -> list[Place]:
        if host != "b.example":
            raise OSError(f"no {host}")
        return [(socket.AF_INET, (HOST, port))]

    a, b = await make("a", resolver=resolve), await make("b")
    port = b.port
    a.network.set_peers({"b": "b.example:1"})
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    await works(a, b)
    await b.network.stop()
    await until(lambda: a.events[-1] in ("disconnected b", "silence b"))
    assert not a.network.send("b", b"lost")
    b = await make("b")
    port = b.port
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    await works(a, b)
    await works(b, a)


async def test_an_address_that_has_to_be_proved(make: Make) -> None:
    a, b = await pair(make)
    c = await make("c")
    for wrong in (1, c.port):  # where nobody is, where another one is
        await works(a, b)
        a.events.clear()
        a.network.set_peers({"b": f"{HOST}:{wrong}"}, {}, {"b"})
        await until(lambda: "disconnected b" in a.events)
        assert "b" in a.network.heard_from()
        with pytest.raises(TimeoutError):
            await until(a.network.connected, 0.5)
        a.network.set_peers({"b": f"{HOST}:{b.port}"})
    await works(a, b)
    a.events.clear()
    a.network.set_peers({"b": f"localhost:{b.port}"}, {}, {"b"})
    await until(lambda: a.events == ["disconnected b", "connected b"])
    a.network.set_peers({"b": f"localhost:{b.port}"}, {}, {"b"})
    a.network.set_peers({"b": f"localhost:{b.port}"})
    await works(a, b)
    assert a.events == ["disconnected b", "connected b"]


async def test_a_peer_is_dialled_at_another_place_when_it_is_not_at_its_address(make: Make) -> None:
    a, b, c = await make("a"), await make("b"), await make("c")
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    for wrong in (1, c.port):
        a.network.set_peers({"b": f"{HOST}:{wrong}"}, {"b": f"{HOST}:{b.port}"})
        await works(a, b, 5.0)
        a.network.set_peers({})
        await until(lambda: "b" not in a.network.connected())
    with pytest.raises(ValueError, match="HOST:PORT"):
        a.network.set_peers({"b": f"{HOST}:1"}, {"b": "nowhere"})


async def test_a_look_up_that_hangs_is_not_begun_again(make: Make) -> None:
    begun = 0
    hang = asyncio.Event()

    async def resolve(_host: str, _port: int) -> list[Place]:
        nonlocal begun
        begun += 1
        await hang.wait()
        return [(socket.AF_INET, (HOST, b.port))]

    b = await make("b")
    timings = Timings(dial_secs=0.05, redial_secs_max=0.06)
    a = await make("a", resolver=resolve, timings=timings)
    introduce(b, a)
    a.network.set_peers({"b": "b.example:1"})
    await until(lambda: a.network.counts["unreachable"] >= 3)
    assert begun == 1
    hang.set()
    await works(a, b)


async def test_a_bug_or_a_wrong_name_does_not_end_the_dials(make: Make) -> None:
    b = await make("b")
    answers: list[Exception] = [RuntimeError("a bug"), OSError("no such name")]

    async def resolve(_host: str, _port: int) -> list[Place]:
        if answers:
            raise answers.pop()
        # An old address beside the new one: the first is tried in vain.
        return [(socket.AF_INET, (HOST, 1)), (socket.AF_INET, (HOST, b.port))]

    a = await make("a", resolver=resolve)
    introduce(b, a)
    a.network.set_peers({"b": "b.example:1"})
    await works(a, b, 5.0)  # two pauses, and a traceback that is written
    assert (a.network.counts["bug"], a.network.counts["unreachable"]) == (1, 1)


async def test_what_was_sent_before_a_stop_arrives(make: Make) -> None:
    a, b = await pair(make)
    for number in range(500):
        assert a.network.send("b", number.to_bytes(2, "big") * 500)
    await a.network.stop()
    assert not a.network.send("b", b"late")
    await until(lambda: len(b.messages) == 500)
    assert "disconnected b" not in a.events  # no callback after a stop


async def test_a_node_takes_over_a_cluster_id(make: Make) -> None:
    a, b = await make("a", cluster_id=""), await make("b", cluster_id="c1")
    introduce(a, b)
    await works(a, b)
    a.network.set_cluster("c1")
    await works(a, b)
    await works(b, a)
    a.network.set_cluster("c2")
    await until(lambda: a.network.counts["other_cluster"] and b.network.counts["other_cluster"])
    await until(lambda: not a.network.connected() | b.network.connected())
    b.messages.clear()
    assert not a.network.send("b", b"?")


async def test_a_bug_in_a_callback_is_told_and_ends_nothing(make: Make) -> None:
    a, b = await pair(make)

    def fail(_peer: str, message: bytes) -> None:
        b.messages.append(("a", message))
        raise KeyError(message)

    b.network._on_message = fail
    a.network.send("b", b"1")
    a.network.send("b", b"2")
    await until(lambda: len(b.messages) == 2)
    assert [type(one) for one in b.failures] == [KeyError, KeyError]
    b.failures.clear()


def test_on_uvloop() -> None:
    async def run() -> None:
        a, b = await End("a").start(), await End("b").start()
        introduce(a, b)
        await works(a, b)
        large = os.urandom(5_000_000)
        a.network.send("b", large)
        await until(lambda: b.heard()[-1] == large)
        await a.network.stop()
        await until(lambda: "disconnected a" in b.events and "silence a" in b.events)
        await b.network.stop()

    uvloop.run(run())


# --- newer connections, slow receivers, dead ends -------------------------------------------------


async def test_what_an_older_connection_holds_is_never_delivered_after_a_newer_hello(
    make: Make,
) -> None:
    old, b = await pair(make)
    b.network.pause_reading("a")
    for number in range(1_000):
        assert old.network.send("b", b"old" + bytes(1_000) + str(number).encode())
    await asyncio.sleep(0.05)
    assert b.messages == []
    # The node starts again while its former process still hangs on somewhere.
    new = await make("a")
    new.network.set_peers({"b": f"{HOST}:{b.port}"})
    await until(lambda: b.events.count("hello a disk-a") == 2)
    old.network.set_peers({})
    new.network.send("b", b"new")
    await asyncio.sleep(0.05)
    assert b.messages == []  # still paused, on the new connection, too
    b.network.resume_reading("a")
    await until(lambda: b.messages)
    await asyncio.sleep(0.05)
    assert b.heard() == [b"new"]


async def shake_hands(port: int, own: Introduction) -> tuple[asyncio.StreamWriter, Dialling]:
    """Connects by hand, as node `own`. Raises Refused."""
    dialling = Dialling(own, "b", SECRET.key, os.urandom)
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(dialling.hello())
    frames = FrameReader()
    while dialling.message_key is None:
        frames.feed(await reader.read(4_096))
        while (frame := frames.next()) is not None:
            writer.write(dialling.receive(frame))
    return writer, dialling


async def test_a_late_hello_of_an_older_connection_is_refused(make: Make) -> None:
    b = await make("b")
    b.network.set_peers({"a": f"{HOST}:1"})
    own = Introduction("a", "c1", "disk-a", b"i" * 16, 5)
    writer, dialling = await shake_hands(b.port, own)
    for generation in (5, 4):
        with pytest.raises(Refused) as caught:
            await shake_hands(b.port, own._replace(generation=generation))
        assert caught.value.verdict is Verdict.SUPERSEDED
    assert dialling.message_key is not None
    sealer = Sealer(dialling.message_key)
    writer.write(sealer.seal(b"still here"))
    await until(lambda: b.heard() == [b"still here"])
    newer, _ = await shake_hands(b.port, own._replace(generation=6))
    writer.write(sealer.seal(b"too late"))
    # Another process of the node counts anew.
    newest, _ = await shake_hands(b.port, own._replace(incarnation=b"j" * 16, generation=1))
    await until(lambda: b.events.count("hello a disk-a") == 3)
    assert "silence a" not in b.events  # it went over to the newer one each time
    for one in (writer, newer, newest):
        one.close()
    await until(lambda: b.events[-1] == "silence a")
    assert b.heard() == [b"still here"]


async def test_nothing_more_is_delivered_of_a_peer_that_was_just_removed(make: Make) -> None:
    a, b = await pair(make)

    def remove(peer: str, message: bytes) -> None:
        b.messages.append((peer, message))
        b.network.set_peers({})

    b.network._on_message = remove
    for number in range(10):  # one write, so that they arrive together
        a.network.send("b", bytes([number]))
    await until(lambda: "silence a" in b.events)
    assert b.heard() == [b"\0"]


async def test_frames_in_hand_wait_while_reading_is_paused(make: Make) -> None:
    a, b = await pair(make)

    def one_at_a_time(peer: str, message: bytes) -> None:
        b.messages.append((peer, message))
        b.network.pause_reading(peer)

    b.network._on_message = one_at_a_time
    for number in range(5):
        a.network.send("b", bytes([number]))
    for count in range(1, 6):
        await until(lambda count=count: len(b.messages) == count)  # type: ignore[misc]
        await asyncio.sleep(0.01)
        assert len(b.messages) == count
        b.network.resume_reading("a")
    assert b.heard() == [bytes([number]) for number in range(5)]


async def test_a_slow_receiver_bounds_what_the_sender_holds(make: Make) -> None:
    size = 1 << 20
    timings = Timings(unsent_size_max=4 * size)
    a, b = await pair(make, timings=timings)
    b.network.pause_reading("a")
    taken = 0
    for _ in range(60):
        taken += a.network.send("b", taken.to_bytes(4, "big") + bytes(size))
        await asyncio.sleep(0)
    assert 3 <= taken < 30  # four MiB here, the rest in the buffers of the system
    assert a.network.counts["full"] == 60 - taken
    b.network.resume_reading("a")
    await until(lambda: len(b.messages) == taken)
    assert [int.from_bytes(one[:4], "big") for one in b.heard()] == list(range(taken))
    await works(a, b)


@pytest.mark.parametrize("system_helps", [True, False], ids=["TCP_USER_TIMEOUT", "without"])
async def test_a_connection_that_cannot_be_written_is_dropped(
    make: Make, wire: Any, monkeypatch: pytest.MonkeyPatch, system_helps: bool
) -> None:
    if not system_helps:
        monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    a, b = await make("a", timings=QUICK), await make("b", timings=QUICK)
    between = await wire(b)
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    a.network.set_peers({"b": f"{HOST}:{between.port}"})
    await works(a, b)
    between.flowing.clear()  # the link is dead, and nobody says so
    for _ in range(40):
        a.network.send("b", bytes(1 << 20))
        await asyncio.sleep(0)
    await until(lambda: "disconnected b" in a.events, secs=3)
    assert a.network.connected() == set()
    between.flowing.set()
    await works(a, b)


async def test_a_peer_that_accepts_and_never_answers(make: Make) -> None:
    a = await make("a", timings=QUICK)
    silent = socket.create_server((HOST, 0))
    port = silent.getsockname()[1]
    a.network.set_peers({"b": f"{HOST}:{port}"})
    await until(lambda: a.network.counts["unreachable"] >= 2)
    assert a.network.connected() == set()
    silent.close()
    b = await make("b", port=port)
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    await works(a, b, secs=1.5)


async def test_a_connection_cut_while_sending(make: Make, wire: Any) -> None:
    a, b = await make("a"), await make("b")
    between = await wire(b)
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    a.network.set_peers({"b": f"{HOST}:{between.port}"})
    await until(a.network.connected)
    number = 0
    for _ in range(4):
        for _ in range(300):
            if a.network.send("b", number.to_bytes(4, "big") + bytes(5_000)):
                number += 1
            if number % 50 == 0:
                await asyncio.sleep(0)
        for writer in between.writers:
            writer.transport.abort()
        between.writers.clear()
        await until(lambda: not a.network.connected())
        await until(a.network.connected)
    await works(a, b)
    heard = [int.from_bytes(one[:4], "big") for one in b.heard() if len(one) > 100]
    assert heard == sorted(set(heard))  # some are lost; none is repeated or overtaken
    assert len(heard) > 10


# --- strangers ------------------------------------------------------------------------------------


TRACE = f"/tmp/taskq-unpickled-{os.getpid()}"


class Bomb:
    """Unpickled, it would leave a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (TRACE,)


def exploded() -> bool:
    return os.path.exists(TRACE)


A_HELLO = encode_introduction(Introduction("a", "c1", "d", b"i" * 16, 1 << 40), "b", b"n" * 32)
HOSTILE = {
    "random": os.urandom(4_096),
    "zeros": bytes(70_000),
    "pickle": pickle.dumps(Bomb()),
    "pickle in a frame": pack_frame(HELLO, pickle.dumps(Bomb())),
    "pickle in a message": pack_frame(MESSAGE, pickle.dumps(Bomb()) + bytes(16)),
    "PySyncObj": len(pickle.dumps(Bomb())).to_bytes(4, "little") + pickle.dumps(Bomb()),
    "http": b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200),
    "4 GiB announced": b"\xff\xff\xff\xff\x01",
    "1 MiB announced": b"\x00\x10\x00\x00\x01",
    "a Hello, then a message": pack_frame(HELLO, A_HELLO) + pack_frame(MESSAGE, b"m" * 40),
    "a Hello, then no proof": pack_frame(HELLO, A_HELLO) + pack_frame(PROOF, b"m" * 32),
    "a Hello, then half a proof": pack_frame(HELLO, A_HELLO) + pack_frame(PROOF, b"m" * 16),
    "two Hellos": pack_frame(HELLO, A_HELLO) * 2,
    "a Hello cut short": pack_frame(HELLO, A_HELLO[:-1]),
    "a challenge": pack_frame(CHALLENGE, A_HELLO),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_strangers_are_put_out(make: Make, data: bytes) -> None:
    a, b = await pair(make)
    reader, writer = await asyncio.open_connection(HOST, b.port)
    writer.write(data)
    said = await closed_by_peer(reader)
    writer.close()
    assert len(said) < 300  # at most a challenge
    assert b.messages == []
    assert b.network.stranger_count == 0
    assert not exploded()
    await works(a, b)
    assert a.events.count("connected b") == 1


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_server_gets_nothing(make: Make, data: bytes) -> None:
    a = await make("a", timings=QUICK)
    said: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        said.append(await closed_by_peer(reader))
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    a.network.set_peers({"b": f"{HOST}:{port}"})
    await until(lambda: len(said) >= 1)
    server.close()
    assert a.network.connected() == set()
    assert a.messages == []
    assert all(len(one) < 400 for one in said)  # a Hello and at most a proof
    assert not exploded()


async def test_half_frames_and_silence_end_in_time(make: Make) -> None:
    a, b = await pair(make, timings=QUICK)
    hello = pack_frame(HELLO, A_HELLO)
    pieces = [b"", hello[:1], hello[:50], hello]
    streams = [await asyncio.open_connection(HOST, b.port) for _ in pieces]
    for (_, writer), piece in zip(streams, pieces, strict=True):
        writer.write(piece)
    # A byte now and then does not buy more time.
    dripping = asyncio.create_task(drip(streams[1][1], hello[1:]))
    for reader, _ in streams:
        await closed_by_peer(reader, 2)
    dripping.cancel()
    assert b.network.counts["slow"] == 4
    assert b.network.stranger_count == 0
    for _, writer in streams:
        writer.close()
    await works(a, b)


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.1)


async def test_a_thousand_connections(make: Make) -> None:
    a, b = await pair(make)
    strangers: list[socket.socket] = []
    for number in range(1_000):
        stream = socket.socket()
        stream.setblocking(False)
        strangers.append(stream)
        with contextlib.suppress(OSError):
            stream.connect((HOST, b.port))
        if number % 50 == 0:
            await asyncio.sleep(0)
            assert b.network.stranger_count <= 64
    await works(a, b)
    await until(lambda: b.network.counts["crowded"] >= 500)
    assert b.network.stranger_count <= 64
    # One that comes new gets in, too, while all of them are still there.
    c = await make("c")
    introduce(a, b, c)
    await until(lambda: "b" in c.network.connected(), secs=1)
    await works(c, b)
    assert a.events.count("connected b") == 1
    for stream in strangers:
        stream.close()


async def test_a_recorded_handshake_gets_nobody_in(make: Make, wire: Any) -> None:
    a, b = await make("a"), await make("b")
    between = await wire(b)
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    a.network.set_peers({"b": f"{HOST}:{between.port}"})
    await works(a, b)
    count = len(b.messages)
    for data in (b"".join(between.recorded), between.recorded[0]):
        reader, writer = await asyncio.open_connection(HOST, b.port)
        writer.write(data)
        writer.write_eof()
        await closed_by_peer(reader)
        writer.close()
    assert len(b.messages) == count
    assert b.network.counts["secret"] + b.network.counts["protocol"] >= 1
    assert b.events.count("hello a disk-a") == 1
    await works(a, b)


FORGED = pack_frame(MESSAGE, b"forged" + bytes(16))
TAMPERING: dict[str, Callable[[bytes], bytes]] = {
    "a frame put before": lambda data: FORGED + data,
    "a byte changed": lambda data: data[:5] + bytes([data[5] ^ 1]) + data[6:],
    "the seal changed": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "repeated": lambda data: data + data,
    "the seal cut off": lambda data: pack_frame(MESSAGE, data[5:-16]),
    "half the seal cut off": lambda data: pack_frame(MESSAGE, data[5:-8]),
    "another kind": lambda data: data[:4] + bytes([HELLO]) + data[5:],
    "a length too large": lambda data: b"\xff" + data[1:],
}


@pytest.mark.parametrize("change", TAMPERING.values(), ids=TAMPERING)
async def test_nobody_on_the_path_can_change_anything(
    make: Make, wire: Any, change: Callable[[bytes], bytes]
) -> None:
    a, b = await make("a"), await make("b")
    between = await wire(b)
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    a.network.set_peers({"b": f"{HOST}:{between.port}"})
    await works(a, b)
    b.messages.clear()
    await asyncio.sleep(0.02)
    b.messages.clear()
    between.change = change
    a.network.send("b", b"a real message")
    await until(lambda: b.network.counts["protocol"] == 1)
    between.change = lambda data: data
    assert b.heard() in ([], [b"a real message"])
    if b.heard():
        assert change(FORGED) == FORGED + FORGED  # delivered once, for it was real
    await works(a, b)


async def test_a_frame_put_after_the_handshake_reaches_no_dialler(make: Make, wire: Any) -> None:
    a, b = await make("a"), await make("b")
    between = await wire(b)
    b.network.set_peers({"a": f"{HOST}:{a.port}"})
    a.network.set_peers({"b": f"{HOST}:{between.port}"})
    await works(a, b)
    between.writers[0].write(FORGED)  # towards a
    await until(lambda: "disconnected b" in a.events)
    assert b"forged" not in a.heard()
    await works(a, b)


# --- nodes that do not belong ---------------------------------------------------------------------


async def test_guests_come_in_under_names_that_nodes_can_have(make: Make) -> None:
    host = await make("host", guest_count_max=2)
    guests = [await make(name) for name in ("../n1", "x" * 65, "n 1", "n1", "n2", "n3")]
    for guest in guests:
        guest.network.set_peers({"host": f"{HOST}:{host.port}"})
    await until(lambda: len(host.network.heard_from()) == 2)
    await until(lambda: sum(one.network.counts["unknown_node"] > 0 for one in guests) == 4)
    assert host.network.heard_from() < {"n1", "n2", "n3"}


@pytest.mark.parametrize(
    ("node_id", "options", "here", "there"),
    [
        ("a", {"cluster_id": "c2"}, "other_cluster", "other_cluster"),
        ("b", {}, "own_id", "own_id"),
        ("z", {}, "unknown_node", "unknown_node"),
        ("a", {"trust": trust_secret("another secret of the tests")}, "unreachable", "secret"),
        ("a", {"trust": trust_loopback()}, "unreachable", "secret"),
    ],
    ids=["other cluster", "our own id", "unknown", "other secret", "no secret"],
)
async def test_who_does_not_belong_is_refused(
    make: Make, node_id: str, options: dict[str, Any], here: str, there: str
) -> None:
    b = await make("b")
    b.network.set_peers({"a": f"{HOST}:1"})
    other = await make(node_id, **options)
    # Under b's own id it would not dial b: it dials "x", and finds b there.
    other.network.set_peers({"x" if node_id == "b" else "b": f"{HOST}:{b.port}"})
    await until(lambda: other.network.counts[here] and b.network.counts[there])
    assert other.network.connected() == b.network.heard_from() == set()
    assert not other.network.send("b", b"?")
    assert b.messages == []


async def test_a_node_at_the_address_of_another_is_noticed(make: Make) -> None:
    a, b, c = await make("a"), await make("b"), await make("c")
    introduce(a, b, c)
    a.network.set_peers({"b": f"{HOST}:{c.port}", "c": f"{HOST}:{c.port}"})
    await until(lambda: c.network.counts["wrong_node"] and a.network.counts["wrong_node"])
    assert "b" not in a.network.connected() or b.network.heard_from() >= {"a"}
    await works(a, c)


async def test_without_secret_and_certificates_only_this_machine(make: Make) -> None:
    a, b = await make("a", trust_loopback()), await make("b", trust_loopback())
    introduce(a, b)
    await works(a, b)
    for host in ("0.0.0.0", "::"):
        end = End("c", trust_loopback())
        with pytest.raises(ValueError, match=r"raft\.secret"):
            await end.network.start(host, 0)


async def test_a_port_that_is_taken(make: Make) -> None:
    a = await make("a")
    end = End("b")
    with pytest.raises(OSError, match="use"):
        await end.network.start(HOST, a.port)


# --- certificates ---------------------------------------------------------------------------------


class Authority:
    """Signs certificates for the tests."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key)
        basic = x509.BasicConstraints(ca=True, path_length=None)
        certificate = builder.add_extension(basic, critical=True).sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    def issue(self, dns_name: str) -> tuple[Path, Path]:
        """Files of a certificate for that name, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
        names = x509.SubjectAlternativeName([x509.DNSName(dns_name)])
        builder = self._builder(subject, key).add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        cert_file = self._folder / f"{self.file.stem}-{dns_name}.crt"
        key_file = self._folder / f"{self.file.stem}-{dns_name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_file, key_file

    def trust(self, dns_name: str) -> Trust:
        return trust_certificates(*self.issue(dns_name), self.file)


async def test_certificates_let_the_nodes_in_that_they_name(make: Make, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    a, b = await make("a", authority.trust("a")), await make("node_B", authority.trust("node_B"))
    introduce(a, b)
    await works(a, b)
    await works(b, a)
    large = os.urandom(3_000_000)
    assert a.network.send("node_B", large)
    await until(lambda: b.heard()[-1] == large)
    await a.network.stop()
    await until(lambda: "silence a" in b.events and "disconnected a" in b.events)


@pytest.mark.parametrize("name", ["z", "*", "A"])
async def test_a_certificate_for_another_name(make: Make, tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path, "ca")
    b = await make("b", authority.trust("b"))
    liar = await make("a", authority.trust(name))
    introduce(b, liar)
    # Where it dials, and where it is dialled.
    await until(lambda: b.network.counts["wrong_certificate"] >= 2)
    await until(lambda: liar.network.counts["wrong_certificate"])
    assert b.network.connected() == liar.network.connected() == set()
    assert b.network.heard_from() == liar.network.heard_from() == set()


async def test_strangers_at_a_port_with_certificates(make: Make, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    a = await make("a", authority.trust("a"))
    b = await make("b", authority.trust("b"))
    introduce(a, b)
    await works(a, b)
    forged = await make("a", other.trust("a"))
    plain = await make("a", SECRET)
    for end in (forged, plain):
        end.network.set_peers({"b": f"{HOST}:{b.port}"})
    await until(lambda: min(one.network.counts["unreachable"] for one in (forged, plain)))
    # Somebody who trusts everybody, and shows no certificate.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(HOST, b.port, ssl=context)
        writer.write(pack_frame(HELLO, A_HELLO))
        assert await closed_by_peer(reader) == b""
        writer.close()
    assert b.events.count("hello a disk-a") == 1
    assert forged.network.connected() == plain.network.connected() == set()
    await works(a, b)


async def test_unfinished_tls_counts_among_the_strangers(make: Make, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    timings = Timings(handshake_secs=1, stranger_count_max=8)
    b = await make("b", authority.trust("b"), timings=timings)
    streams = [await asyncio.open_connection(HOST, b.port) for _ in range(30)]
    await until(lambda: b.network.counts["crowded"] == 22)
    assert b.network.stranger_count == 8
    for reader, _ in streams[:22]:
        assert await closed_by_peer(reader) == b""
    a = await make("a", authority.trust("a"))
    introduce(a, b)
    await works(a, b)
    await until(lambda: b.network.stranger_count == 0)
    for _, writer in streams:
        writer.close()
