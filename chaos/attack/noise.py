"""Rows of bytes that mean harm: noise, pickles, frames that are slow, too large, or bombs."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack

from chaos.attack.scene import MIB, Scene
from chaos.attack.stranger import Closed, Stranger
from chaos.attack.tries import Tries
from taskq.commands import ClaimTask, Hello, Ping, SubmitTask, TaskResult
from taskq.errors import Refusal
from taskq.registry import MESSAGE_OF

# So many connections that make noise at once, and that throw what is prepared.
NOISY, AT_ONCE = 6, 32
# A node answers noise, or ends it, within so long; what just waits for more is left alone.
LISTEN_SECS = 0.05
# What a node may say to a stranger, at most: why it closes, an HTTP error, a challenge.
SAID_MAX = 2_000
# A frame of someone who never gets to its end is given up by then: Hello's 10 s, a sweep, and one
# sweep more on a busy machine.
SLOW_SECS = 25.0
TRICKLE_SECS = 0.2


async def random_bytes(scene: Scene, tries: Tries) -> None:
    """On every port, alone, behind a good beginning, and in frames whose lengths are right."""
    ends = time.monotonic() + scene.amount.noise_secs

    async def noisy() -> None:
        while time.monotonic() < ends:
            await _throw(scene.chance.choice(scene.ports), _noise(scene), tries)

    await asyncio.gather(*(noisy() for _ in range(NOISY)))


def _noise(scene: Scene) -> bytes:
    chance = scene.chance
    noise = chance.randbytes(chance.choice((1, 4, 5, 40, 900, 5_000, 70_000)))
    kind = chance.choice((0x01, 0x02, 0x10, 0x12, 0x81, chance.randrange(256)))
    beginnings = (
        b"",
        struct.pack(">IB", len(noise) + 1, kind),
        struct.pack(">IB", chance.choice((0, 1, 900, 4_000, 2**31, 2**32 - 1)), kind),
        Stranger.greeting("tq_guess"),
        b"GET /metrics HTTP/1.1\r\nHost: ",
        b"\x16\x03\x01" + struct.pack(">H", min(len(noise), 65_535)),
        struct.pack(">IB", len(noise) + 9, 1) + b"taskqRFT",
    )
    return chance.choice(beginnings) + noise


async def _throw(port: int, data: bytes, tries: Tries) -> None:
    try:
        async with await Stranger.connect(port) as stranger:
            await stranger.throw(data)
            said = await stranger.rest(LISTEN_SECS)
            tries.judge(
                said is None or _says_nothing(said),
                "no answer" if said is None else "closed",
                f"said {said!r}"[:200],
            )
    except (Closed, TimeoutError) as error:
        tries.refuse(str(error) or "no answer")


def _says_nothing(said: bytes) -> bool:
    """Whether it is no more than a refusal. Metrics are for anybody who reaches their port."""
    return len(said) <= SAID_MAX or said.startswith(b"HTTP/1.1 ")


# --- pickles --------------------------------------------------------------------------------------


def traps(trace: Path) -> list[bytes]:
    """Pickles, spelled out: whoever unpickles one makes that folder."""
    name = str(trace).encode()
    text = b"X" + struct.pack("<I", len(name)) + name
    return [
        b"cos\nmkdir\n(V" + name + b"\ntR.",
        b"\x80\x02cos\nmkdir\n(" + text + b"tR.",
        b"\x80\x05\x8c\x02os\x8c\x05mkdir\x93(" + text + b"tR.",
    ]


def wrappings(pickled: bytes) -> Iterator[bytes]:
    """Bare, and in whatever somebody listening here might take off."""
    size = len(pickled)
    yield pickled
    yield struct.pack("<i", size) + pickled
    for kind in range(256):
        yield struct.pack(">IB", size + 1, kind) + pickled
    packed = msgpack.packb([1, 0, ["x", pickled]])
    yield struct.pack(">IB", len(packed) + 1, 1) + packed
    yield b"POST /metrics HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + pickled


async def hostile_pickles(scene: Scene, tries: Tries) -> None:
    """On every port, in all wrappings; then as the payload of a task, from somebody inside."""
    trace = scene.home / "unpickled"
    pickles = traps(trace)
    for one in pickles:  # they work
        words = [sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"]
        await asyncio.to_thread(subprocess.run, words, input=one, check=True)
        trace.rmdir()
    places = asyncio.Semaphore(AT_ONCE)

    async def throw(port: int, data: bytes) -> None:
        async with places:
            await _throw(port, data, tries)

    ports = scene.ports[:: len(scene.client_ports)]  # one of each kind
    thrown = [data for one in pickles for data in wrappings(one)]
    await asyncio.gather(*(throw(port, data) for port in ports for data in thrown))
    async with await Stranger.connect(scene.client_ports[0]) as insider:
        assert await insider.hello(scene.keys["admin"]) is None
        for number, one in enumerate(pickles):
            worker = bytes([number]) * 16
            await insider.ask(SubmitTask(worker, "ours.pickles", payload=one))
            (task,) = (await insider.ask(ClaimTask(worker, 1, 1, ["ours.pickles"]))).tasks
            await insider.ask(TaskResult(worker, task.token, True, one))
            tries.refuse("kept as bytes")
    if trace.exists():
        tries.admit("a pickle was run")


# --- frames ---------------------------------------------------------------------------------------


async def slow_frames(scene: Scene, tries: Tries) -> None:
    """Before any proof: a byte now and then, on every port, of a frame that never ends."""
    hello = struct.pack(">IB", 900, 1) + bytes(900)
    page = b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 1_000
    await asyncio.gather(
        *(_trickle(port, hello, tries) for port in scene.client_ports * 4),
        *(_trickle(port, hello, tries) for port in scene.raft_ports * 4),
        *(_trickle(port, page, tries) for port in scene.monitoring_ports * 4),
    )


async def slow_handshakes(scene: Scene, tries: Tries) -> None:
    """The same in the place of a TLS handshake: records of 16 KiB that come byte by byte, and
    connections on which nothing comes."""
    record = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + scene.chance.randbytes(900)
    ports = scene.ports * 4
    await asyncio.gather(
        *(_trickle(port, record, tries) for port in ports),
        *(_trickle(port, b"", tries) for port in ports),
    )


async def _trickle(port: int, data: bytes, tries: Tries) -> None:
    async with await Stranger.connect(port) as stranger:
        ends = time.monotonic() + SLOW_SECS
        closed = asyncio.create_task(stranger.is_closed(SLOW_SECS))
        place = 0
        while not closed.done() and time.monotonic() < ends:
            try:
                await stranger.throw(data[place : place + 1])
            except Closed:
                break
            place = (place + 1) % max(len(data), 1)
            await asyncio.wait([closed], timeout=TRICKLE_SECS)
        tries.judge(await closed, "closed in time", "a frame may take for ever")


async def oversized_frames(scene: Scene, tries: Tries) -> None:
    """Before any proof: lengths from just too large to 4 GiB, with and without what they promise;
    a request line without end."""
    sizes = [5_000, 65_536, MIB, 16 * MIB, 2**31, 2**32 - 1]
    for port in [*scene.client_ports, *scene.raft_ports]:
        for size in sizes:
            for kind in (1, 2, 0x10):
                head = struct.pack(">IB", size, kind)
                for data in (head, head + bytes(min(size, MIB))):
                    await _is_closed_at_once(port, data, tries)
    for port in scene.monitoring_ports:
        for data in (b"GET /" + b"a" * MIB, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000):
            await _is_closed_at_once(port, data, tries)


async def _is_closed_at_once(port: int, data: bytes, tries: Tries) -> None:
    try:
        async with await Stranger.connect(port) as stranger:
            try:
                await stranger.throw(data)
            except Closed:
                pass  # while it was still being sent
            tries.judge(
                await stranger.is_closed(5.0), "closed at once", f"{data[:5]!r} was waited for"
            )
    except (Closed, TimeoutError) as error:
        tries.refuse(str(error) or "no answer")


# --- bombs ----------------------------------------------------------------------------------------


def bombs() -> Iterator[bytes]:
    """msgpack that is small on the wire and large in memory, or seems to be."""
    head = b"\x93\x01\x00"  # request id, deadline, and in the place of the fields:
    yield head + b"\x91" * 100_000  # deep
    yield head + b"\x81\xa1a" * 50_000
    yield head + b"\xdd\xff\xff\xff\xff"  # an array, a map, a text, bytes of 4 GiB
    yield head + b"\xdf\xff\xff\xff\xff"
    yield head + b"\xdb\xff\xff\xff\xff"
    yield head + b"\xc6\xff\xff\xff\xff" + bytes(1_000)
    yield head + b"\xdc\xff\xff" + b"\x90" * 65_535  # many small ones
    yield head + b"\xdc\xff\xff" + b"\x80" * 65_535
    yield head + b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000
    yield head + b"\xdc\x01\xf4" + (b"\xdc\x07\x6c" + b"\x90" * 1_900) * 500
    yield head + b"\xc9\x00\x00\x00\x10\x01" + bytes(16)  # an extension
    yield head + b"\xd6\xff" + bytes(4)  # a time


async def memory_bombs(scene: Scene, tries: Tries) -> None:
    """In the place of Hello, and from somebody inside in the place of each request."""
    greeting = MESSAGE_OF[Hello].code
    codes = [MESSAGE_OF[one].code for one in (SubmitTask, ClaimTask, TaskResult)]
    for port in scene.client_ports:
        for one in bombs():
            await _is_closed_at_once(port, _framed(greeting, one), tries)
            for code in codes:
                async with await Stranger.connect(port) as insider:
                    assert await insider.hello(scene.keys["admin"]) is None
                    await _explode(insider, _framed(code, one), tries)


def _framed(code: int, payload: bytes) -> bytes:
    return struct.pack(">IB", len(payload) + 1, code) + payload


async def _explode(insider: Stranger, data: bytes, tries: Tries) -> None:
    """It is refused, or ends the connection."""
    try:
        await insider.throw(data)
        await insider.ask(Ping())
        answer = insider.heard(1)  # the request id of a bomb
        taken = answer is not None and not isinstance(answer, Refusal)
        tries.judge(not taken, "refused", f"a bomb was taken: {data[:20]!r}")
    except Closed as closed:
        tries.refuse(str(closed))
