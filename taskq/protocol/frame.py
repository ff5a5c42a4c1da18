"""Frames: a 4-byte big-endian length, a type byte, a payload. Pure; knows nothing of messages.

The length counts the type byte and the payload, so that it is at least 1; at most
`FRAME_SIZE_MAX` + 1. Called by `connection.py` on both sides.
"""

from __future__ import annotations

from struct import Struct

from taskq.errors import ProtocolError
from taskq.limits import FRAME_SIZE_MAX

_HEAD = Struct(">IB")
HEAD_SIZE = _HEAD.size

# (message type, payload)
Frame = tuple[int, bytes]


def pack_frame(kind: int, payload: bytes) -> bytes:
    """The bytes of one frame. Raises ProtocolError where the payload exceeds `FRAME_SIZE_MAX`."""
    if len(payload) > FRAME_SIZE_MAX:
        raise ProtocolError(f"a frame holds at most {FRAME_SIZE_MAX} bytes, not {len(payload)}")
    return _HEAD.pack(len(payload) + 1, kind) + payload


class FrameReader:
    """Cuts a stream of bytes into frames, whatever pieces it arrives in."""

    __slots__ = ("_rest", "_size_max", "_wanted")

    def __init__(self, size_max: int = FRAME_SIZE_MAX) -> None:
        self._rest = bytearray()
        self._size_max = size_max
        self._wanted = HEAD_SIZE  # no frame can be complete before `_rest` has so many bytes

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame held."""
        return len(self._rest)

    def allow(self, size_max: int) -> None:
        """Changes the largest payload taken from now on (small before Hello, full after)."""
        self._size_max = size_max

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`, in order. Raises ProtocolError on an illegal length."""
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._wanted:
                return []
            data = bytes(rest)
            rest.clear()
        frames, used, self._wanted = self._cut(data)
        if used < len(data):
            rest += data[used:] if used else data
        return frames

    def _cut(self, data: bytes) -> tuple[list[Frame], int, int]:
        frames: list[Frame] = []
        position, end, unpack = 0, len(data), _HEAD.unpack_from
        while end - position >= HEAD_SIZE:
            length, kind = unpack(data, position)
            if not 1 <= length <= self._size_max + 1:
                raise ProtocolError(
                    f"a frame of {length} bytes; allowed are 1..{self._size_max + 1}"
                )
            after = position + 4 + length
            if after > end:
                return frames, position, 4 + length
            frames.append((kind, data[position + HEAD_SIZE : after]))
            position = after
        return frames, position, HEAD_SIZE
