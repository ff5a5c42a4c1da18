"""Exactly what was encoded is understood, and nothing else."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.snapshots.messages import (
    CHUNK_SIZE_MAX,
    CRC_MAX,
    NUMBER_MAX,
    Begin,
    Chunk,
    End,
    Installed,
    Message,
    Stop,
    Stream,
    Taken,
    Why,
    decode,
    encode,
)

COUNTS = st.integers(0, NUMBER_MAX)
POSITIVE = st.integers(1, NUMBER_MAX)
STREAMS = st.builds(Stream, POSITIVE, POSITIVE)
TERMS = st.tuples(COUNTS, COUNTS).map(lambda pair: (min(pair), max(pair)))
MESSAGES = st.one_of(
    st.builds(Begin, STREAMS, POSITIVE, POSITIVE, TERMS, st.integers(0, CRC_MAX)),
    st.builds(Chunk, STREAMS, COUNTS, st.binary(min_size=1, max_size=500)),
    st.builds(End, STREAMS, COUNTS, st.integers(0, CRC_MAX)),
    st.builds(Taken, STREAMS, COUNTS),
    st.builds(Installed, STREAMS, POSITIVE),
    st.builds(Stop, STREAMS, st.sampled_from(Why), COUNTS),
)
SOME: list[Message] = [
    Begin(Stream(5, 1), 1, 40, (4, 5), 2**32 - 1),
    Chunk(Stream(5, 1), 0, b"pairs"),
    End(Stream(5, 1), 3, CRC_MAX),
    Taken(Stream(5, 1), 2),
    Installed(Stream(5, 1), 40),
    Stop(Stream(5, 1), Why.DISK, 0),
]


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", SOME, ids=lambda one: type(one).__name__)
def test_every_part_cut_off_or_added_is_refused(message: Message) -> None:
    data = encode(message)
    for end in range(len(data)):
        with pytest.raises(ValueError):  # noqa: PT011  # which one does not matter
            decode(data[:end])
    with pytest.raises(ValueError):  # noqa: PT011
        decode(data + b"\0")


STREAM = [5, 1]
BAD: list[Any] = [
    None,
    [],
    7,
    {},
    b"bytes",
    [0, STREAM],
    [7, STREAM, 1],
    [True, STREAM, 1, 40, [4, 5], 6],
    [[1], STREAM, 1, 40, [4, 5], 6],
    [1, STREAM, 1, 40, [4, 5]],
    [1, STREAM, 1, 40, [4, 5], CRC_MAX + 1],
    [1, STREAM, 1, 40, [4, 5], 0, 0],
    [1, STREAM, 1, 0, [4, 5], 6],
    [1, STREAM, 0, 40, [4, 5], 6],
    [1, STREAM, 1, 40, [5, 4], 6],
    [1, STREAM, 1, 40, [5], 6],
    [1, STREAM, 1, 40, 5, 6],
    [1, [5], 1, 40, [4, 5], 6],
    [1, [0, 1], 1, 40, [4, 5], 6],
    [1, [5, 0], 1, 40, [4, 5], 6],
    [1, [5, -1], 1, 40, [4, 5], 6],
    [1, [5, 2**63], 1, 40, [4, 5], 6],
    [1, [5, 1.0], 1, 40, [4, 5], 6],
    [1, 5, 1, 40, [4, 5], 6],
    [2, STREAM, 0, b""],
    [2, STREAM, 0, "text"],
    [2, STREAM, -1, b"x"],
    [2, STREAM, None, b"x"],
    [2, STREAM, 0, bytes(CHUNK_SIZE_MAX + 1)],
    [3, STREAM, 0, CRC_MAX + 1],
    [3, STREAM, 0, True],
    [4, STREAM, msgpack.Timestamp(0)],
    [5, STREAM, 0],
    [6, STREAM, 0, 0],
    [6, STREAM, 99, 0],
    [6, STREAM, 1, -1],
]


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(msgpack.packb(value))


def test_the_largest_chunk_passes() -> None:
    message = Chunk(Stream(1, 1), 0, bytes(CHUNK_SIZE_MAX))
    assert decode(encode(message)) == message


def test_a_pickle_is_only_bytes() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(b"cos\nsystem\n(S'true'\ntR.")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(b"\x91" * 100_000)


def test_flipped_bits_give_a_message_or_a_value_error() -> None:
    chance = random.Random(7)
    read = 0
    for _ in range(20_000):
        data = bytearray(encode(chance.choice(SOME)))
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            message = decode(bytes(data))
        except ValueError:
            continue
        assert decode(encode(message)) == message
        read += 1
    assert read > 100


@given(st.binary(max_size=60))
def test_random_bytes_give_a_message_or_a_value_error(data: bytes) -> None:
    try:
        decode(data)
    except ValueError:
        pass
