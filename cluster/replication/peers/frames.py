"""Frames between nodes, and the seal that each of them carries after the handshake. Pure.

    length (4 bytes, big-endian, counts what follows) | kind (1 byte) | payload
    payload of MESSAGE: the message | seal (16 bytes)

The seal is HMAC-SHA256 over sequence number, kind and message under a key of this connection and
direction, cut to 128 bits (RFC 2104, section 5: at least half of the digest). The number itself is
not sent: both sides count, so that a frame injected, lost, repeated or moved does not verify.
"""

from __future__ import annotations

import hmac
from struct import Struct

from taskq.limits import KIB, MIB

# Before the peer is authenticated: the largest Hello has about 900 bytes.
GREETING_SIZE_MAX = KIB
# A single large entry of 16 MiB and its head fit; a batch has 4 MiB.
FRAME_SIZE_MAX = 32 * MIB
SEAL_SIZE = 16
MESSAGE_SIZE_MAX = FRAME_SIZE_MAX - SEAL_SIZE

HELLO, CHALLENGE, PROOF, VERDICT, MESSAGE = range(1, 6)

_HEAD = Struct(">IB")
HEAD_SIZE = _HEAD.size
# What a message takes on the wire beside itself.
OVERHEAD = HEAD_SIZE + SEAL_SIZE
_NUMBERED = Struct(">QB")

# Its kind and its payload.
Frame = tuple[int, bytes]


class FrameError(Exception):
    """The peer sent what no peer of ours sends: the connection is closed."""


def pack_frame(kind: int, payload: bytes) -> bytes:
    """The bytes of one frame without a seal."""
    return _HEAD.pack(len(payload) + 1, kind) + payload


class FrameReader:
    """Cuts a stream of bytes into frames, one at a time, whatever pieces it arrives in."""

    __slots__ = ("_buffer", "_position", "size_max")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self.size_max = GREETING_SIZE_MAX  # the largest payload taken from now on

    @property
    def pending(self) -> int:
        """Bytes held that were not handed out."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        """Takes bytes in; nothing is looked at yet."""
        if self._position:
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    def next(self) -> Frame | None:
        """The next whole frame; None where more bytes are needed. Raises FrameError on an illegal
        length, before any memory is taken for it."""
        buffer, position = self._buffer, self._position
        if len(buffer) - position < HEAD_SIZE:
            return None
        length, kind = _HEAD.unpack_from(buffer, position)
        if not 1 <= length <= self.size_max + 1:
            raise FrameError(f"a frame of {length} bytes; allowed are 1..{self.size_max + 1}")
        end = position + 4 + length
        if end > len(buffer):
            return None
        with memoryview(buffer) as view:
            payload = bytes(view[position + HEAD_SIZE : end])
        self._position = end
        return kind, payload


class Sealer:
    """Makes the frames of one connection in one direction."""

    __slots__ = ("_key", "_number")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def seal(self, message: bytes) -> bytes:
        """The frame of the next message. Raises ValueError where it exceeds `MESSAGE_SIZE_MAX`."""
        if len(message) > MESSAGE_SIZE_MAX:
            raise ValueError(f"a message has at most {MESSAGE_SIZE_MAX} bytes, not {len(message)}")
        seal = _seal(self._key, self._number, message)
        self._number += 1
        head = _HEAD.pack(len(message) + SEAL_SIZE + 1, MESSAGE)
        return b"".join((head, message, seal))


class Opener:
    """Verifies the frames that the `Sealer` with the same key made, in the order it made them."""

    __slots__ = ("_key", "_number")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def open(self, frame: Frame) -> bytes:
        """The message. Raises FrameError for any other frame than the next one."""
        kind, payload = frame
        if kind != MESSAGE or len(payload) < SEAL_SIZE:
            raise FrameError(
                f"a frame of kind {kind} with {len(payload)} bytes after the handshake"
            )
        message, seal = payload[:-SEAL_SIZE], payload[-SEAL_SIZE:]
        if not hmac.compare_digest(seal, _seal(self._key, self._number, message)):
            raise FrameError(f"message {self._number} of the connection does not match its seal")
        self._number += 1
        return message


def _seal(key: bytes, number: int, message: bytes) -> bytes:
    return hmac.digest(key, _NUMBERED.pack(number, MESSAGE) + message, "sha256")[:SEAL_SIZE]
