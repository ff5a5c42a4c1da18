"""Rows about the Raft port: who is no node, a recording of one that is, a node that went mad."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import struct
from collections.abc import Callable
from typing import NamedTuple

import msgpack

from chaos.attack.scene import MIB, Scene
from chaos.attack.stranger import Closed, Stranger
from chaos.attack.tries import Tries
from chaos.live.cluster import SECRET
from cluster.replication.channels import CHANNELS, FORWARD, FOUNDING, NOTE
from cluster.replication.peers.frames import MESSAGE, FrameError, FrameReader, Sealer, pack_frame
from cluster.replication.peers.handshake import Dialling, NotAuthenticated, Refused
from cluster.replication.peers.introduction import INCARNATION_SIZE, Introduction
from cluster.replication.peers.trust import trust_loopback, trust_secret
from taskq.commands import GetCluster, ListQueues
from taskq.errors import Refusal

# A node that is not one of the members, and would like to be.
GUEST = "n9"
# After the handshake a node says nothing more: one that ends the connection does so by then.
REACTION_SECS = 1.0


class Recording(NamedTuple):
    """What a dialler said and heard, from Hello to the first message."""

    hello: bytes
    proof: bytes
    message: bytes


async def unknown_peer(scene: Scene, tries: Tries) -> None:
    """Without a secret, with wrong ones, under the name of each member and of nobody."""
    wrong = [SECRET.upper(), SECRET + " ", "at least sixteen", secrets.token_hex(16)]
    keys = [trust_loopback().key, bytes(32), secrets.token_bytes(32)]
    keys += [await _key(one) for one in wrong]
    for _ in range(max(scene.amount.tries // 100, 1)):
        for to, port in scene.cluster.raft_ports.items():
            for name in (*scene.cluster.nodes, GUEST, "", "../n1"):
                for key in keys:
                    await _knock(port, name, to, key, tries)


async def _key(secret: str) -> bytes:
    return (await asyncio.to_thread(trust_secret, secret)).key


async def _knock(port: int, name: str, to: str, key: bytes, tries: Tries) -> None:
    what = f"{name!r} came in to {to}"
    try:
        async with await Stranger.connect(port) as stranger:
            await shake_hands(stranger, name, to, key)
        tries.admit(what)
    except Closed as closed:
        tries.refuse(str(closed))
    except (NotAuthenticated, Refused) as error:
        tries.refuse(type(error).__name__)


async def shake_hands(
    stranger: Stranger, name: str, to: str, key: bytes, generation: int = 1
) -> tuple[Sealer, Recording]:
    """Introduces somebody as a node of that name; what it may seal now, and a recording of it with
    a first message that was not sent. Raises Closed, FrameError and those of the handshake where
    that fails."""
    own = Introduction(name, "", "", secrets.token_bytes(INCARNATION_SIZE), generation)
    dialling = Dialling(own, to, key, secrets.token_bytes)
    reader = FrameReader()
    said = [dialling.hello()]
    await stranger.throw(said[0])
    while dialling.message_key is None:
        frame = reader.next()
        if frame is None:
            reader.feed(await stranger.read())
            continue
        answer = dialling.receive(frame)
        if answer:
            said.append(answer)
            await stranger.throw(answer)
    message = Sealer(dialling.message_key).seal(NOTE + b"\x90")
    return Sealer(dialling.message_key), Recording(said[0], said[1], message)


async def replayed_challenges(scene: Scene, tries: Tries) -> None:
    """A handshake that was recorded on the way (of a node that has the secret), said again; its
    proof behind another Hello; a node's own challenge, reflected; its messages."""
    key = await _key(SECRET)
    for to, port in scene.cluster.raft_ports.items():
        async with await Stranger.connect(port) as friend:
            _, recorded = await shake_hands(friend, GUEST, to, key)
        for _ in range(max(scene.amount.tries // 20, 1)):
            for data in (
                recorded.hello + recorded.proof,
                recorded.hello + recorded.proof + recorded.message,
                recorded.proof,
                recorded.message,
                recorded.hello + recorded.message,
                recorded.hello + recorded.hello,
            ):
                await _is_put_out(port, data, tries)
            await _reflect(port, recorded.hello, tries)


async def _is_put_out(port: int, data: bytes, tries: Tries) -> None:
    """Whoever comes in hears a verdict; nobody is told to be welcome."""
    try:
        async with await Stranger.connect(port) as stranger:
            await stranger.throw(data)
            tries.judge(await stranger.is_closed(10.0), "closed", "a recording was let in")
    except Closed as closed:
        tries.refuse(str(closed))


async def _reflect(port: int, hello: bytes, tries: Tries) -> None:
    """What the node says is said back to it."""
    try:
        async with await Stranger.connect(port) as stranger:
            await stranger.throw(hello)
            challenge = await stranger.read()
            for kind in range(1, 6):
                await stranger.throw(challenge[:4] + bytes([kind]) + challenge[5:])
            tries.judge(await stranger.is_closed(10.0), "closed", "a reflection was let in")
    except Closed as closed:
        tries.refuse(str(closed))


async def mad_peer(scene: Scene, tries: Tries) -> None:
    """A guest that has the secret, and says on every channel what no node of ours says: noise, deep
    and large msgpack, messages of 30 MiB, seals that are wrong. Nothing of it may change anything,
    or end the node: it reads each message, and what is said behind it on the same connection."""
    key = await _key(SECRET)
    said = list(_mad(scene))
    doors = list(scene.cluster.raft_ports.items())
    for to, port in doors if scene.amount.tries >= 100 else doors[:1]:
        before = await facts(scene, to)
        for message in said:
            async with await Stranger.connect(port) as guest:
                sealer, _ = await shake_hands(guest, GUEST, to, key)
                for _ in range(2):
                    await guest.throw(sealer.seal(message))
                assert not await guest.is_closed(LISTEN_SECS), "it was not heard: a wrong seal?"
            tries.judge(*await changed(scene, to, before))
        for place, wrong in enumerate(_broken_seals(NOTE + b"\x90")):
            async with await Stranger.connect(port) as guest:
                sealer, _ = await shake_hands(guest, GUEST, to, key)
                await guest.throw(sealer.seal(NOTE + b"\x90") + wrong(sealer))
                closed = await guest.is_closed(REACTION_SECS)
                tries.judge(closed, "closed", f"a message with a wrong seal was taken: {place}")


def _broken_seals(message: bytes) -> list[Callable[[Sealer], bytes]]:
    """What is no next message: a bit flipped in its seal and in itself, one sealed for another
    place, and one without a seal."""

    def skips(sealer: Sealer) -> bytes:
        sealer.seal(message)
        return sealer.seal(message)

    return [
        lambda sealer: _flipped(sealer.seal(message), -1),
        lambda sealer: _flipped(sealer.seal(message), 5),
        skips,
        lambda sealer: pack_frame(MESSAGE, message),
    ]


def _flipped(data: bytes, place: int) -> bytes:
    return bytes([*data[:place], data[place] ^ 1, *(data[place + 1 :] if place != -1 else b"")])


class Facts(NamedTuple):
    """What nobody but members, and whoever has an admin's key, may change. `term`: elections raise
    it by one now and then; who forges one takes more."""

    term: int
    members: tuple[str, ...]
    level: int
    queues: tuple[str, ...]


# More than the elections of a row.
TERM_LEAP = 1_000


async def facts(scene: Scene, to: str) -> Facts | None:
    """As that node knows them, now; None where it serves nobody."""
    port = scene.cluster.nodes[to].port
    try:
        async with await Stranger.connect(port, scene.context()) as owner:
            if await owner.hello(scene.keys["admin"]) is not None:
                return None
            status = await owner.ask(GetCluster(stale=True))
            page = await owner.ask(ListQueues(stale=True, limit=1000))
    except Closed:
        return None
    if isinstance(status, Refusal) or isinstance(page, Refusal):
        return None
    members = tuple(member[0] for member in status.members)
    return Facts(status.term, members, status.level, tuple(queue[0] for queue in page.queues))


async def changed(scene: Scene, to: str, before: Facts | None) -> tuple[bool, str, str]:
    """For `Tries.judge`: whether everything is as it was."""
    now = await facts(scene, to)
    same = (
        before is not None
        and now is not None
        and now[1:] == before[1:]
        and now.term < before.term + TERM_LEAP
    )
    return same, "ignored", f"{to} was {before} and is {now}"


LISTEN_SECS = 0.05


def _mad(scene: Scene) -> list[bytes]:
    chance = scene.chance
    deep, wide = b"\x91" * 200_000, b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000
    found = [channel + deep for channel in CHANNELS] + [channel + wide for channel in CHANNELS]
    found += [
        channel + chance.randbytes(size) for channel in CHANNELS for size in (0, 1, 40, 9_000)
    ]
    found += [bytes([channel]) + b"\x90" for channel in range(6, 256, 50)]
    found += [channel + bytes(30 * MIB) for channel in (NOTE, FOUNDING, FORWARD)]
    found.append(NOTE + msgpack.packb(["x" * 10 * MIB, "", 2**63, 2**63, 2**63, 2**63, 2**63]))
    found.append(b"")
    return found


# --- certificates ---------------------------------------------------------------------------------


async def foreign_certificates(scene: Scene, tries: Tries) -> None:
    """None, one of another authority, one of the clients' authority, and that of a node under the
    name of another."""
    assert scene.papers is not None
    key = trust_loopback().key
    shown = [(None, "n2"), ("foreign-n2", "n2"), ("client", "n2"), ("client", "client")]
    shown += [("expired", "n2"), ("n2", "n3"), ("n2", "n1"), ("n2", GUEST)]
    for to, port in scene.cluster.raft_ports.items():
        async with await Stranger.connect(port, scene.papers.context(GUEST)) as guest:
            await shake_hands(guest, GUEST, to, key)  # with its own it would come in
    for _ in range(max(scene.amount.tries // 100, 1)):
        for to, port in scene.cluster.raft_ports.items():
            for certificate, name in shown:
                context = scene.papers.context(certificate)
                await _knock_tls(port, context, name, to, key, tries)
            await _is_put_out(port, pack_frame(MESSAGE, bytes(64)), tries)
            await _is_put_out(port, struct.pack(">IB", 5, 1) + b"taskq", tries)


async def _knock_tls(
    port: int, context: ssl.SSLContext, name: str, to: str, key: bytes, tries: Tries
) -> None:
    try:
        async with await Stranger.connect(port, context) as stranger:
            await shake_hands(stranger, name, to, key)
        tries.admit(f"{name!r} came in to {to} with a certificate that is not its own")
    except Closed as closed:
        tries.refuse(str(closed))
    except (FrameError, Refused) as error:
        tries.refuse(error.verdict.name if isinstance(error, Refused) else type(error).__name__)
