"""What two nodes say to each other about requests of clients. Pure.

    Requests   [1, stream, consumed, ids that nobody waits for any more, frames of requests]
    Answers    [2, stream, frames of answers]
    Reset      [3, stream]    the leader knows nothing of this stream, or gave it up

The follower, whose clients ask, numbers its streams at random and its requests in order, so that
nothing of a process or connection that is gone is taken for its successor's. `consumed` counts the
bytes of all answers of this stream that the follower has handed to its clients: what is between the
two nodes is bounded by it. The frames are those of the protocol, with the follower's numbers for
request ids. A frame of type 0 among them says what the keys are limited to with which the requests
behind it came: a pattern of queues, empty for no limit, which is how a message begins.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from taskq.errors import ProtocolError
from taskq.protocol.frame import Frame, FrameReader, pack_frame

_REQUESTS, _ANSWERS, _RESET = 1, 2, 3
# No message has this code.
SCOPE = 0
_HEAD = struct.Struct(">BQ")
_REQUESTS_HEAD = struct.Struct(">BQQI")
ID_SIZE = 8

# A message holds so many bytes of frames, or one larger frame alone: Raft's messages, which use the
# same connection, never wait long behind one.
LETTER_SIZE = 1 << 20


class Requests(NamedTuple):
    """See the module."""

    stream: int
    consumed: int
    dropped: tuple[int, ...]
    frames: list[Frame]


class Answers(NamedTuple):
    """See the module."""

    stream: int
    frames: list[Frame]


class Reset(NamedTuple):
    """See the module."""

    stream: int


def pack_requests(
    stream: int, consumed: int, dropped: Sequence[int], frames: Sequence[bytes]
) -> bytes:
    """The message with packed frames of requests."""
    head = _REQUESTS_HEAD.pack(_REQUESTS, stream, consumed, len(dropped))
    return b"".join((head, struct.pack(f">{len(dropped)}Q", *dropped), *frames))


def pack_scope(pattern: str) -> bytes:
    """The frame that says what the requests behind it are limited to."""
    return pack_frame(SCOPE, pattern.encode())


def read_scope(payload: bytes) -> str:
    """The pattern in such a frame. Raises ProtocolError."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("a limit of a key that is no text") from error


def pack_answers(stream: int, frames: Sequence[bytes]) -> bytes:
    """The message with packed frames of answers."""
    return b"".join((_HEAD.pack(_ANSWERS, stream), *frames))


def pack_reset(stream: int) -> bytes:
    """The message that ends a stream."""
    return _HEAD.pack(_RESET, stream)


def read_letter(message: bytes) -> Requests | Answers | Reset:
    """A message as received. Raises ProtocolError for anything else."""
    try:
        kind, stream = _HEAD.unpack_from(message)
        if kind == _ANSWERS:
            return Answers(stream, _frames(message[_HEAD.size :]))
        if kind == _REQUESTS:
            _, stream, consumed, count = _REQUESTS_HEAD.unpack_from(message)
            start = _REQUESTS_HEAD.size
            end = start + ID_SIZE * count
            dropped = struct.unpack(f">{count}Q", message[start:end])
            return Requests(stream, consumed, dropped, _frames(message[end:]))
    except (struct.error, MemoryError, OverflowError) as error:
        raise ProtocolError(f"not a message about requests: {error}") from error
    if kind == _RESET and len(message) == _HEAD.size:
        return Reset(stream)
    raise ProtocolError(f"no such message about requests: {kind}")


def _frames(data: bytes) -> list[Frame]:
    if not data:
        return []
    reader = FrameReader()
    frames = reader.feed(data)
    if reader.pending:
        raise ProtocolError("a message about requests that ends within a frame")
    return frames
