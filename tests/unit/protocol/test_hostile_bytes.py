"""Bytes of a stranger: nothing but ProtocolError comes out, at a bounded cost in memory."""

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskq.commands import Heartbeat, SubmitTask, SubmitTasks
from taskq.errors import ProtocolError
from taskq.limits import BATCH_COUNT_MAX, FRAME_SIZE_MAX, HEARTBEAT_TOKEN_COUNT_MAX, MIB
from taskq.protocol import unpack as unpacking
from taskq.protocol.codec import Rejected, Request, decode_answer, decode_request, make_pack
from taskq.protocol.connection import ClientConnection, ServerConnection
from taskq.protocol.frame import pack_frame
from taskq.protocol.unpack import LARGE_ARRAY_COUNT_MAX, PLAIN_SIZE_MAX, unpack
from taskq.results import HelloReply
from tests.unit.protocol.wire_values import legal_fields

PACK = make_pack()
HELLO_REPLY = HelloReply(1, "c", "n", "", 0, [], "", 30_000, 1, 1, 1, 1, 1)
HELLO = pack_frame(0x01, msgpack.packb([1, 1, 0, [[1]]]))
HELLO_ANSWER = pack_frame(0x81, PACK([1, 1, HELLO_REPLY]))
ARRAY_OF_4G = b"\xdd\xff\xff\xff\xff"


def _open_server() -> ServerConnection:
    server = ServerConnection()
    server.receive(HELLO)
    server.accept(1, HELLO_REPLY)
    return server


def _open_client() -> ClientConnection:
    client = ClientConnection()
    client.receive(HELLO_ANSWER)
    return client


@given(st.binary(max_size=300), st.booleans())
def test_random_streams_raise_nothing_but_protocol_errors(noise: bytes, opened: bool) -> None:
    for end in (
        _open_server() if opened else ServerConnection(),
        _open_client() if opened else ClientConnection(),
    ):
        try:
            events = end.receive(noise)
        except ProtocolError:
            continue
        assert len(events) <= len(noise) // 5
        assert isinstance(end, ClientConnection) or end.pending <= len(noise)


@settings(max_examples=400)
@given(st.integers(0, 255), st.binary(max_size=80))
@example(0x10, b"\x94\x01\x01\x00\x92\xc0\xa1\xff")
@example(0x90, b"\x93\x01\x01\x90")
def test_random_payloads_raise_nothing_but_protocol_errors(kind: int, payload: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(kind, payload)
        except ProtocolError as error:
            assert len(str(error)) < 1000


@settings(max_examples=150)
@given(legal_fields(SubmitTask), st.data())
def test_mutated_requests_are_parsed_refused_or_a_protocol_error(
    fields: list[Any], data: st.DataObject
) -> None:
    stream = bytearray(pack_frame(0x10, PACK([1, 7, 0, fields])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] = data.draw(st.integers(0, 255))
    try:
        events = _open_server().receive(bytes(stream))
    except ProtocolError:
        return
    for event in events:
        assert isinstance(event, (Request, Rejected))
        if isinstance(event, Request):
            assert event.message.check(list(event.command))


VALUE = PACK([1, 7, 0, [b"i" * 16, "q"]])
NOT_VALUES = {
    "nothing": b"",
    "cut": VALUE[:-1],
    "more behind": VALUE + b"\xc0",
    "never used byte": b"\xc1",
    "array that never comes": ARRAY_OF_4G,
    "map that never comes": b"\xdf\xff\xff\xff\xff",
    "text that never comes": b"\xdb\xff\xff\xff\xff",
    "bytes that never come": b"\xc6\xff\xff\xff\xff",
    "extension that never comes": b"\xc9\xff\xff\xff\xff\x01",
    "extension": b"\xd4\x01\x00",
    "empty extension": b"\xc7\x00\x01",
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "timestamp of 96 bits": b"\xc7\x0c\xff" + bytes(12),
    "empty timestamp": b"\xc7\x00\xff",
    "invalid UTF-8": b"\xa2\xc3\x28",
    "surrogate": b"\xa3\xed\xa0\x80",
    "NaN as key": b"\x81\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\x01",
    "integer as key": b"\x81\x01\x01",
    "nil as key": b"\x81\xc0\x01",
    "array as key": b"\x81\x90\x01",
    "map as key": b"\x81\x80\x01",
    "deep arrays": b"\x91" * 5000 + b"\xc0",
    "deep maps": b"\x81\xa1a" * 5000 + b"\xc0",
    "deep unfinished arrays": b"\xdc\x10\x00" * 1000,
    "array too long": b"\xdc\xff\xff" + b"\xc0" * 65535,
    "map too large": msgpack.packb({str(n): n for n in range(201)}),
}


@pytest.mark.parametrize("payload", NOT_VALUES.values(), ids=NOT_VALUES.keys())
@pytest.mark.parametrize("place", ["whole", "fields"])
def test_what_is_no_value_of_the_protocol(payload: bytes, place: str) -> None:
    if place == "fields":
        payload = b"\x94\x01\x07\x00" + payload
    for decode in (decode_request, decode_answer):
        with pytest.raises(ProtocolError):
            decode(0x02, payload)


@pytest.mark.parametrize("depth", [100, 500, 900, 1000, 1020])
@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
def test_deep_values_in_any_place_are_refused_without_recursion(depth: int, place: int) -> None:
    parts = [b"\x01", b"\x07", b"\x00", b"\x90", b""]
    parts[place] = b"\x91" * depth + b"\xc0"
    payload = (b"\x95" if place == 4 else b"\x94") + b"".join(parts)
    try:
        received = decode_request(0x10, payload)
    except ProtocolError:
        return
    assert isinstance(received, Rejected)


def test_the_last_of_equal_keys_counts() -> None:
    assert unpack(b"\x82\xa1a\x01\xa1a\x02") == {"a": 2}


@pytest.mark.parametrize(
    "number", [b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcf\x80" + bytes(7)]
)
def test_integers_beyond_63_bits_are_refused_in_every_place(number: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_request(0x02, b"\x94\x01" + number + b"\x00\x90")
    for payload in (b"\x94" + number + b"\x07\x00\x90", b"\x94\x01\x07" + number + b"\x90"):
        assert isinstance(decode_request(0x02, payload), Rejected)
    fields = b"\x92" + b"\xc4\x10" + bytes(16) + number
    assert isinstance(decode_request(0x15, b"\x94\x01\x07\x00" + fields), Rejected)


def _peak(payload: bytes) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            unpack(payload)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BOMBS = {
    "empty arrays": b"\xdc\x03\xe8" + (b"\xdc\x03\xe8" + b"\x90" * 1000) * 1000,
    "empty maps": b"\xdc\x03\xe8" + (b"\xdc\x03\xe8" + b"\x80" * 1000) * 1000,
    "short texts": b"\xdc\x03\xe8" + (b"\xdc\x03\xe8" + b"\xa2ab" * 1000) * 1000,
    "open arrays": (b"\xdc\x07\xd0" + b"\xc0" * 1999) * 1000,
    "announced": b"\xdd\x00\x0f\xff\xff" * 1000 + b"\xc0" * 1_000_000,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_defused_before_it_fills_the_memory(
    bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tenth of the real budget, and bombs to match: the full size takes seconds under tracing.
    monkeypatch.setattr(unpacking, "VALUE_COUNT_MAX", 100_000)
    assert len(bomb) > PLAIN_SIZE_MAX
    assert _peak(bomb) < 20 * MIB


def test_a_stranger_cannot_make_arrays_within_arrays_cost_memory() -> None:
    """Before Hello is accepted: each level would take its announced length at once."""
    payload = b"\xdc\x0f\x00" * 1000 + bytes(1000)
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="max_array_len"):
        ServerConnection().receive(pack_frame(0x01, payload))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MIB


def test_a_small_frame_cannot_become_much() -> None:
    bomb = b"\x91" * 200 + b"\xdc\x27\x10" + (b"\xdc\x00\x18" + b"\x90" * 24) * 9_000
    assert len(bomb) <= PLAIN_SIZE_MAX
    assert _peak(bomb) < 24 * MIB


def test_the_largest_legal_messages_are_within_what_is_unpacked() -> None:
    heartbeat = Heartbeat(b"w" * 16, [(1 << 63) - 1] * HEARTBEAT_TOKEN_COUNT_MAX)
    assert isinstance(decode_request(0x18, PACK([1, 1, 0, heartbeat])), Request)
    headers = {f"header-{n}": "v" * 100 for n in range(32)}
    task = SubmitTask(b"i" * 16, "queue", "name", b"x" * 1000, headers=headers)
    batch = PACK([1, 1, 0, SubmitTasks([task] * BATCH_COUNT_MAX)])
    assert PLAIN_SIZE_MAX < len(batch) < FRAME_SIZE_MAX
    assert isinstance(decode_request(0x11, batch), Request)
    tokens = [(1 << 63) - 1] * HEARTBEAT_TOKEN_COUNT_MAX
    decode_answer(0x98, PACK([1, 1, [tokens, tokens]]))


def test_the_largest_listing_is_within_what_is_unpacked() -> None:
    attempt = [100, "w" * 32, 1, 2, "lease_expired", ""]
    headers = {f"h{n}": "" for n in range(32)}
    view = [b"i" * 16, 6, "q", "n", 1, headers, 0, 1, 1, 1, 1, 1, 1, 1, 1, "w", 1, False, "", False]
    page = [[[*view, None, [attempt] * 100] for _ in range(BATCH_COUNT_MAX)], None]
    answer = decode_answer(0xA2, PACK([1, 1, page]))
    assert len(answer.value.tasks[-1].attempts) == 100  # type: ignore[union-attr]


def test_a_batch_just_too_long_is_refused_by_name() -> None:
    task = [b"i" * 16, "queue", "name", b"x" * 1000]
    many = decode_request(0x11, PACK([1, 1, 0, [[task] * (BATCH_COUNT_MAX + 1)]]))
    assert isinstance(many, Rejected)
    assert many.refusal.message.startswith("SubmitTasks: tasks: got list of 1001")
    with pytest.raises(ProtocolError, match="max_array_len"):
        decode_request(0x11, PACK([1, 1, 0, [[task] * (LARGE_ARRAY_COUNT_MAX + 1)]]))
