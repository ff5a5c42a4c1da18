"""Frames: whatever pieces a stream arrives in, the same frames come out, at a linear cost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.errors import ProtocolError
from taskq.limits import FRAME_SIZE_MAX
from taskq.protocol.frame import Frame, FrameReader, pack_frame

frames_strategy = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8)


def test_the_bytes_of_a_frame() -> None:
    assert pack_frame(0x10, b"abc") == b"\x00\x00\x00\x04\x10abc"
    assert pack_frame(0xFF, b"") == b"\x00\x00\x00\x01\xff"


@given(frames_strategy, st.data())
def test_any_pieces_give_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(pack_frame(kind, payload) for kind, payload in frames)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    edges = [0, *sorted(cuts), len(stream)]
    for pieces in (
        [stream],
        [stream[a:b] for a, b in pairwise(edges)],
        [stream[at : at + 1] for at in range(len(stream))],
    ):
        reader = FrameReader()
        assert [frame for piece in pieces for frame in reader.feed(piece)] == frames
        assert reader.pending == 0


def test_a_frame_comes_with_its_last_byte_and_not_before() -> None:
    stream = pack_frame(1, b"abcd")
    reader = FrameReader()
    for at in range(len(stream) - 1):
        assert reader.feed(stream[at : at + 1]) == []
        assert reader.pending == at + 1
    assert reader.feed(stream[-1:]) == [(1, b"abcd")]


def test_a_frame_of_exactly_the_maximum_passes_and_one_byte_more_does_not() -> None:
    largest = bytes(FRAME_SIZE_MAX)
    frame = pack_frame(7, largest)
    assert FrameReader().feed(frame) == [(7, largest)]
    with pytest.raises(ProtocolError, match=str(FRAME_SIZE_MAX)):
        pack_frame(7, largest + b"x")
    # Refused by the length alone, before anything is held.
    reader = FrameReader()
    with pytest.raises(ProtocolError):
        reader.feed((FRAME_SIZE_MAX + 2).to_bytes(4, "big") + b"\x07")
    assert reader.pending == 0


@pytest.mark.parametrize("length", [0, 12, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_an_illegal_length_is_refused_as_soon_as_the_head_is_there(length: int) -> None:
    head = length.to_bytes(4, "big") + b"\x01"
    reader = FrameReader(10)
    assert reader.feed(head[:4]) == []
    with pytest.raises(ProtocolError, match=f"a frame of {length} bytes"):
        reader.feed(head[4:])
    with pytest.raises(ProtocolError):
        FrameReader(10).feed(pack_frame(1, b"legal") + head)


def test_a_small_reader_takes_its_own_maximum_and_can_be_allowed_more() -> None:
    reader = FrameReader(10)
    assert reader.feed(pack_frame(1, bytes(10))) == [(1, bytes(10))]
    reader.allow(11)
    assert reader.feed(pack_frame(1, bytes(11))) == [(1, bytes(11))]
    with pytest.raises(ProtocolError):
        reader.feed(pack_frame(1, bytes(12)))


def test_a_declared_length_holds_no_memory_until_bytes_arrive() -> None:
    reader = FrameReader()
    assert reader.feed((FRAME_SIZE_MAX + 1).to_bytes(4, "big") + b"\x01" + b"x" * 10) == []
    assert reader.pending == 15


class CountingReader(FrameReader):
    """Counts the bytes looked at: each look copies what is held."""

    looked_at = 0

    def _cut(self, data: bytes) -> tuple[list[Frame], int, int]:
        self.looked_at += len(data)
        return super()._cut(data)


@pytest.mark.parametrize("piece_size", [1, 7, 4096])
def test_the_work_is_linear_in_the_bytes(piece_size: int) -> None:
    payload = bytes(200_000)
    stream = pack_frame(1, payload) * 2
    reader = CountingReader()
    frames = [
        frame
        for at in range(0, len(stream), piece_size)
        for frame in reader.feed(stream[at : at + piece_size])
    ]
    assert frames == [(1, payload)] * 2
    assert reader.looked_at <= 2 * len(stream)
