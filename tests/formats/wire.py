"""What travels, as bytes that are the same every time: what nodes and clients say to each other."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgpack

from cluster.replication import messages
from cluster.replication.founding_letters import Answer, Ask, Differ, Formed, Prepare
from cluster.replication.founding_letters import encode as encode_letter
from cluster.replication.links import Note
from cluster.replication.peers.frames import FrameReader
from cluster.replication.peers.handshake import Accepting, Dialling, Verdict
from cluster.replication.peers.introduction import Introduction
from cluster.replication.snapshots import messages as snapshots
from cluster.server.forward_letters import pack_answers, pack_reset
from taskq import commands
from taskq.machine.entry import encode_entry
from taskq.protocol.codec import encode_reply, encode_request, make_pack
from taskq.results import Submitted

KEY = b"k" * 32
ONE = Introduction("n1", "c" * 32, "d" * 32, b"1" * 16, 7)
TWO = Introduction("n2", "c" * 32, "e" * 32, b"2" * 16, 0)
SAMPLES: dict[type, Any] = {int: 5, bool: True, str: "text"}


def wire() -> dict[str, str]:
    """Name -> bytes, as hexadecimal digits."""
    found = {**_handshake(), **_between_nodes(), **_clients()}
    return {name: data.hex() for name, data in sorted(found.items())}


def _handshake() -> dict[str, bytes]:
    """A dials B: the four frames, and the keys that come of them."""
    dialling = Dialling(ONE, "n2", KEY, lambda size: b"a" * size)
    accepting = Accepting(TWO, KEY, lambda size: b"b" * size)
    hello = dialling.hello()
    challenge = accepting.receive(_frame(hello))
    proof = dialling.receive(_frame(challenge))
    accepting.receive(_frame(proof))
    verdict = accepting.verdict(Verdict.WELCOME)
    dialling.receive(_frame(verdict))
    assert dialling.message_key == accepting.message_key
    frames = {"1 hello": hello, "2 challenge": challenge, "3 proof": proof, "4 verdict": verdict}
    keyed = {**frames, "5 message key": accepting.message_key}
    return {f"handshake {name}": data for name, data in keyed.items()}


def _frame(data: bytes) -> Any:
    reader = FrameReader()
    reader.feed(data)
    return reader.next()


def _between_nodes() -> dict[str, bytes]:
    found = {}
    for number, shape in messages.KINDS.items():
        kinds = get_type_hints(shape).values()
        fields = [SAMPLES.get(kind, [(4, b"\0entry"), (5, b"\1")]) for kind in kinds]
        found[f"raft {number} {shape.__name__}"] = messages.encode(shape(*fields))
    letters = (
        Ask(("n1", "n2")),
        Prepare("c" * 32, ("n1", "n2")),
        Answer("c" * 32, "d" * 32),
        Formed("c" * 32, {"n1": "d" * 32, "n2": "e" * 32}),
        Differ(("n1", "n3")),
    )
    for letter in letters:
        found[f"founding {type(letter).__name__}"] = encode_letter(letter)
    stream = snapshots.Stream(3, 1)
    for message in (
        snapshots.Begin(stream, snapshots.FORMAT, 9, (2, 3), 77),
        snapshots.Chunk(stream, 0, b"pairs"),
        snapshots.End(stream, 1, 88),
        snapshots.Taken(stream, 0),
        snapshots.Installed(stream, 9),
        snapshots.Stop(stream, snapshots.Why.NOT_NEEDED, 9),
    ):
        found[f"snapshot {type(message).__name__}"] = snapshots.encode(message)
    note = Note(*(SAMPLES[kind] for kind in get_type_hints(Note).values()))
    found["note"] = msgpack.packb(note)
    found["forward answers"] = pack_answers(1, [b"\0\0\0\1\2"])
    found["forward reset"] = pack_reset(1)
    return found


def _clients() -> dict[str, bytes]:
    pack = make_pack()
    submit = commands.SubmitTask(b"\1" * 16, "q", "name", b"payload", headers={"a": "b"})
    return {
        "client Hello": encode_request(pack, commands.Hello([1], "a client", "key"), 1),
        "client SubmitTask": encode_request(pack, submit, 2, 5_000),
        "reply Submitted": encode_reply(pack, 0x10, 2, Submitted(b"\1" * 16)),
        "entry SubmitTask": encode_entry(5, 6, [submit]),
        "entry RaiseLevel": encode_entry(5, 6, [commands.RaiseLevel(2)], 2),
    }
