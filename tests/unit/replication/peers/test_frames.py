"""Frames: cut right from any pieces, bounded before memory is taken, sealed in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.peers.frames import (
    FRAME_SIZE_MAX,
    GREETING_SIZE_MAX,
    HELLO,
    MESSAGE,
    MESSAGE_SIZE_MAX,
    SEAL_SIZE,
    FrameError,
    FrameReader,
    Opener,
    Sealer,
    pack_frame,
)

KEY = b"k" * 32


def read(reader: FrameReader, data: bytes) -> list[tuple[int, bytes]]:
    reader.feed(data)
    frames = []
    while (frame := reader.next()) is not None:
        frames.append(frame)
    return frames


def sent(*messages: bytes) -> list[tuple[int, bytes]]:
    """The frames of `messages`, as they arrive."""
    reader = FrameReader()
    reader.size_max = FRAME_SIZE_MAX
    sealer = Sealer(KEY)
    return read(reader, b"".join(sealer.seal(one) for one in messages))


def test_the_bytes_of_a_frame() -> None:
    assert pack_frame(HELLO, b"ab") == b"\0\0\0\x03\x01ab"
    assert Sealer(KEY).seal(b"m")[:6] == b"\0\0\0\x12\x05m"


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8),
    st.lists(st.integers(1, 30), min_size=1),
)
def test_frames_survive_any_cutting(frames: list[tuple[int, bytes]], steps: list[int]) -> None:
    data = b"".join(pack_frame(kind, payload) for kind, payload in frames)
    reader = FrameReader()
    found, position, step = [], 0, 0
    while position < len(data):
        size = steps[step % len(steps)]
        found += read(reader, data[position : position + size])
        position, step = position + size, step + 1
    assert found == frames
    assert reader.pending == 0


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_random_bytes_give_frames_or_an_error(pieces: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for piece in pieces:
            read(reader, piece)
    except FrameError:
        pass
    assert reader.pending <= sum(map(len, pieces))


@pytest.mark.parametrize("length", [0, GREETING_SIZE_MAX + 2, FRAME_SIZE_MAX + 1, 0xFFFFFFFF])
def test_a_stranger_may_not_announce_a_large_or_empty_frame(length: int) -> None:
    reader = FrameReader()
    reader.feed(length.to_bytes(4, "big") + b"\x01")
    with pytest.raises(FrameError, match="a frame of"):
        reader.next()


def test_the_largest_frames() -> None:
    assert read(FrameReader(), pack_frame(1, bytes(GREETING_SIZE_MAX))) != []
    message = bytes(MESSAGE_SIZE_MAX)
    (frame,) = sent(message)
    assert Opener(KEY).open(frame) == message
    with pytest.raises(ValueError, match="at most"):
        Sealer(KEY).seal(message + b"1")


def test_messages_come_out_in_order() -> None:
    opener = Opener(KEY)
    assert [opener.open(one) for one in sent(b"a", b"", b"c")] == [b"a", b"", b"c"]


@pytest.mark.parametrize(
    "order",
    [(1,), (0, 0), (0, 2), (0, 1, 0)],
    ids=["first lost", "repeated", "one lost", "old one again"],
)
def test_a_frame_out_of_its_place_is_refused(order: tuple[int, ...]) -> None:
    frames = sent(b"a", b"b", b"c")
    opener = Opener(KEY)
    for position in order[:-1]:
        opener.open(frames[position])
    with pytest.raises(FrameError, match="does not match its seal"):
        opener.open(frames[order[-1]])


@given(st.integers(0, SEAL_SIZE + 4), st.integers(1, 255))
def test_every_changed_byte_is_noticed(position: int, change: int) -> None:
    ((kind, payload),) = sent(b"abcde")
    broken = bytearray(payload)
    broken[position] ^= change
    with pytest.raises(FrameError):
        Opener(KEY).open((kind, bytes(broken)))


@pytest.mark.parametrize("size", range(SEAL_SIZE))
def test_a_short_seal_is_refused(size: int) -> None:
    ((kind, payload),) = sent(b"")
    with pytest.raises(FrameError):
        Opener(KEY).open((kind, payload[:size]))


def test_another_key_or_kind_is_refused() -> None:
    ((_, payload),) = sent(b"a")
    with pytest.raises(FrameError):
        Opener(b"x" * 32).open((MESSAGE, payload))
    with pytest.raises(FrameError):
        Opener(KEY).open((HELLO, payload))
