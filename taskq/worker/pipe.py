"""What the worker and its pool processes say to each other: msgpack values behind a length.

    parent -> child   ["load", target fields]                  first, once
                      ["run", context fields, payload]
                      ["cancel", token]
    child -> parent   ["ready"] or ["broken", text]             the answer to "load"
                      ["ended", ok, result, error, retry]       the answer to "run"

A pool process trusts its parent and the other way round: they are one program. msgpack all the
same, because it cannot run code.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import msgpack

_LENGTH = struct.Struct(">I")
LENGTH_SIZE = _LENGTH.size


def pack(value: list[Any]) -> bytes:
    """The bytes of one value."""
    # A lone surrogate in an error text must not cost the outcome.
    body: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors="replace")
    return _LENGTH.pack(len(body)) + body


def body_size(head: bytes) -> int:
    """How many bytes follow a head of LENGTH_SIZE bytes."""
    size: int = _LENGTH.unpack(head)[0]
    return size


def unpack(body: bytes) -> list[Any]:
    """The value behind a head."""
    value: list[Any] = msgpack.unpackb(body, raw=False)
    return value


def read(stream: BinaryIO) -> list[Any] | None:
    """The next value; None at the end of the stream. Blocks."""
    head = stream.read(LENGTH_SIZE)
    if len(head) < LENGTH_SIZE:
        return None
    size = body_size(head)
    body = stream.read(size)
    return unpack(body) if len(body) == size else None
