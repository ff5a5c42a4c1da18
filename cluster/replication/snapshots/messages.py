"""What leader and follower say to each other about a snapshot. Pure.

A message is a msgpack array: its kind, then its fields in the order of its class. Decoding takes
exactly that, of the types and ranges given here, and raises ValueError for anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from taskq.limits import FRAME_SIZE_MAX, MIB

# What the chunks hold. A receiver that knows another one refuses the Begin, whose own layout
# therefore never changes.
FORMAT = 1
# A chunk ends with a whole pair: what is aimed at, and the largest record (a payload fills a frame
# at most), with room for its key and head.
CHUNK_SIZE_MAX = FRAME_SIZE_MAX + MIB
NUMBER_MAX = 2**63 - 1
CRC_MAX = 2**32 - 1


class Why(IntEnum):
    """Why a stream ended. Numbers are on the wire and never reused."""

    NOT_NEEDED = 1  # the receiver has applied that much already
    OTHER_TERM = 2  # the receiver is not (or no longer) in the stream's term
    OUT_OF_ORDER = 3  # the stream is not known, or a part of it is missing or too much
    MALFORMED = 4  # chunks that are no pairs, or not those that the sender read
    DISK = 5  # the receiver's disk took no more
    OTHER_FORMAT = 6  # the receiver does not know the format of the chunks
    ENDED = 7  # the sender: it leads no more, closes, or cannot read its state
    LOST = 8  # a connection between the two was lost
    STALLED = 9  # nothing moved for too long


class Stream(NamedTuple):
    """Names a transfer: no two have the same, and a later one compares greater."""

    term: int
    number: int


@dataclass(frozen=True, slots=True)
class Begin:
    """A state follows that includes everything up to entry `index`."""

    stream: Stream
    format: int
    index: int
    terms: tuple[int, int]  # of entry index - 1 and of entry index
    digest: int  # CRC-32 of what the entries up to there wrote (A14)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some pairs of the state. `sequence` counts from 0."""

    stream: Stream
    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """There were `count` chunks; `crc` (CRC-32) is over the bytes of all of them."""

    stream: Stream
    count: int
    crc: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The follower has written that chunk aside."""

    stream: Stream
    sequence: int


@dataclass(frozen=True, slots=True)
class Installed:
    """The snapshot is the follower's state, on disk and open."""

    stream: Stream
    index: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The other side shall forget the stream. `applied`: what a receiver has applied, else 0."""

    stream: Stream
    why: Why
    applied: int


Message = Begin | Chunk | End | Taken | Installed | Stop


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise ValueError("not a count")
    return value


def _positive(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= NUMBER_MAX:
        raise ValueError("not a positive number")
    return value


def _crc(value: Any) -> int:
    if _count(value) > CRC_MAX:
        raise ValueError("not a CRC-32")
    return int(value)


def _stream(value: Any) -> Stream:
    if type(value) is not list or len(value) != 2:
        raise ValueError("not a stream")
    return Stream(_positive(value[0]), _positive(value[1]))


def _terms(value: Any) -> tuple[int, int]:
    if type(value) is not list or len(value) != 2 or _count(value[0]) > _count(value[1]):
        raise ValueError("not two terms in order")
    return value[0], value[1]


def _data(value: Any) -> bytes:
    if type(value) is not bytes or not 1 <= len(value) <= CHUNK_SIZE_MAX:
        raise ValueError("not the bytes of a chunk")
    return value


def _why(value: Any) -> Why:
    return Why(_count(value))


# The number of a kind is its place, never reused; the fields as they are read.
_KINDS: tuple[tuple[type[Message], tuple[Callable[[Any], Any], ...]], ...] = (
    (Begin, (_stream, _positive, _positive, _terms, _crc)),
    (Chunk, (_stream, _count, _data)),
    (End, (_stream, _count, _crc)),
    (Taken, (_stream, _count)),
    (Installed, (_stream, _positive)),
    (Stop, (_stream, _why, _count)),
)
_NUMBERS = {message: number for number, (message, _) in enumerate(_KINDS, 1)}
_FIELD_COUNT_MAX = 6


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    fields = (getattr(message, name) for name in message.__match_args__)
    packed: bytes = msgpack.packb((_NUMBERS[type(message)], *fields))
    return packed


def decode(data: bytes) -> Message:
    """Reads what `encode` made. Raises ValueError for anything else."""
    try:
        value = msgpack.unpackb(
            data,
            max_array_len=_FIELD_COUNT_MAX,
            max_bin_len=CHUNK_SIZE_MAX,
            max_str_len=0,
            max_map_len=0,
            max_ext_len=0,
        )
    except ValueError:
        raise
    except Exception as error:  # an unpacker has its own ways to say so
        raise ValueError(f"not msgpack: {error!r}") from error
    if type(value) is not list or not value or not 1 <= _count(value[0]) <= len(_KINDS):
        raise ValueError("not a message about a snapshot")
    message, fields = _KINDS[value[0] - 1]
    if len(value) != len(fields) + 1:
        raise ValueError(f"{len(value) - 1} fields instead of {len(fields)}")
    made: Callable[..., Message] = message
    return made(*(read(field) for read, field in zip(fields, value[1:], strict=True)))
