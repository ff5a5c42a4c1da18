"""One msgpack value from bytes of a stranger, at a bounded cost in memory and time. Pure.

A byte on the wire can become 72 bytes of memory (an empty array), and a length can announce what
never comes. So lengths of arrays and maps are limited, and in a large payload, which legally holds
a few large byte strings or many small records, the values are counted as well.
"""

from __future__ import annotations

from typing import Any

import msgpack

from taskq.errors import ProtocolError
from taskq.fields import Kind, ListOf, Maybe, Record, kinds_of
from taskq.limits import BATCH_COUNT_MAX, HEARTBEAT_TOKEN_COUNT_MAX, KIB

# Twice the longest array of any message (tokens of a heartbeat) and twice the largest map (counts
# of Stats), so that what is just too long is still refused by the name of its field.
ARRAY_COUNT_MAX = 2 * HEARTBEAT_TOKEN_COUNT_MAX
MAP_COUNT_MAX = 2 * 100
# No message is held to shorter arrays than these: the frame of a message is an array, too.
ARRAY_COUNT_LEAST = 64
# Up to here a payload is decoded without counting: at worst it becomes 18 MiB. Heartbeats and
# their answers, 10,000 tokens of nine bytes twice, fit; beyond, batches have the longest arrays.
PLAIN_SIZE_MAX = 256 * KIB
LARGE_ARRAY_COUNT_MAX = 2 * BATCH_COUNT_MAX
# Values in a larger payload: the largest legal one, a page of 1,000 tasks with their attempts and
# headers, holds fewer than 800,000.
VALUE_COUNT_MAX = 1_000_000
# The same for requests, whose largest is 1,000 submits of 13 fields and 32 headers: 46,000. Each
# costs a node a quarter of a microsecond in which it does nothing else.
REQUEST_VALUE_COUNT_MAX = 100_000


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not part of the protocol")


def array_count_max(shape: type) -> int:
    """The longest array to take in a message of this shape: twice what is legal."""
    longest, kinds = 0, list(kinds_of(shape).values())
    while kinds:
        kind = _within(kinds.pop())
        if isinstance(kind, ListOf):
            longest = max(longest, kind.count_max)
            kinds.append(kind.inner)
        elif isinstance(kind, Record):
            kinds.extend(kinds_of(kind.shape).values())
    return max(2 * longest, ARRAY_COUNT_LEAST)


def _within(kind: Kind) -> Kind:
    return kind.inner if isinstance(kind, Maybe) else kind


def unpack(
    payload: bytes, array_count: int = ARRAY_COUNT_MAX, value_count: int | None = None
) -> Any:
    """One msgpack value with arrays of at most `array_count`, and `value_count` values, about.

    An array takes its announced memory before its members come, and there may be a thousand within
    each other. Raises ProtocolError for anything that is not such a value, however malformed.
    """
    try:
        if len(payload) <= PLAIN_SIZE_MAX:
            # Written out: a call with these names in place costs less than one through a partial.
            return msgpack.unpackb(
                payload,
                raw=False,
                strict_map_key=True,
                ext_hook=_no_extension,
                max_ext_len=0,
                max_map_len=MAP_COUNT_MAX,
                max_array_len=array_count,
            )
        return _unpack_counted(
            payload, min(array_count, LARGE_ARRAY_COUNT_MAX), value_count or VALUE_COUNT_MAX
        )
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise ProtocolError(f"not a msgpack value of this protocol: {reason}") from error


def _unpack_counted(payload: bytes, array_count: int, value_count: int) -> Any:
    left = value_count

    def count(container: Any) -> Any:
        nonlocal left
        left -= 1 + len(container)
        if left < 0:
            raise ValueError(f"more than {value_count} values")
        return container

    return msgpack.unpackb(
        payload,
        list_hook=count,
        object_hook=count,
        raw=False,
        strict_map_key=True,
        ext_hook=_no_extension,
        max_ext_len=0,
        max_map_len=MAP_COUNT_MAX,
        max_array_len=array_count,
    )
