"""Records of the log database: entries, and the head that every batch carries.

    e + index (8 bytes)    format (1), term (8), command
    b + number (8 bytes)   format (1), log id (8), floor, first, last, lowest, term, commit index
                           (8 each), then JSON [vote, flags]

Numbers are big-endian, so that keys sort by index. The head in the newest batch record is the
truth about the log; older ones only prove that their batch was there.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

from cluster.storage.batches import FORMAT

Entry = tuple[int, int, bytes]  # index, term, command

ENTRY_STOP = b"f"
_ENTRY_KEY = struct.Struct(">cQ")
_ENTRY_HEAD = struct.Struct(">BQ")
_HEAD = struct.Struct(">BQQQQQQQ")


def entry_key(index: int) -> bytes:
    """The key of entry `index`."""
    return _ENTRY_KEY.pack(b"e", index)


def entry_index(key: bytes) -> int:
    """The index in an entry's key."""
    index: int = _ENTRY_KEY.unpack(key)[1]
    return index


def encode_entry(term: int, command: bytes) -> bytes:
    """An entry's record."""
    return _ENTRY_HEAD.pack(FORMAT, term) + command


def entry_term(record: bytes) -> int:
    """The term in an entry's record. Raises struct.error if it is cut short."""
    term: int = _ENTRY_HEAD.unpack_from(record)[1]
    return term


def entry_command(record: bytes) -> bytes:
    """The command in an entry's record."""
    return record[_ENTRY_HEAD.size :]


@dataclass(frozen=True, slots=True)
class Head:
    """State of the log after a batch. `first`, `last`: indices, 0 and 0 when empty; `lowest`: no
    entry with a smaller index is on disk (what lies between it and `first` is waiting to be
    deleted); `floor`: see `batches`."""

    log_id: int
    floor: int = 1
    first: int = 0
    last: int = 0
    lowest: int = 0
    term: int = 0
    commit_index: int = 0
    vote: str | None = None
    flags: dict[str, int] = field(default_factory=dict)


def encode_tail(vote: str | None, flags: dict[str, int]) -> bytes:
    """The part of a head that seldom changes."""
    return json.dumps([vote, flags], separators=(",", ":")).encode()


def encode_head(head: Head, tail: bytes) -> bytes:
    """A head's record; `tail` is `encode_tail(head.vote, head.flags)`."""
    return (
        _HEAD.pack(
            FORMAT,
            head.log_id,
            head.floor,
            head.first,
            head.last,
            head.lowest,
            head.term,
            head.commit_index,
        )
        + tail
    )


def decode_head(record: bytes) -> Head:
    """The head in a batch record whose format was checked. Raises ValueError if malformed."""
    try:
        _, log_id, floor, first, last, lowest, term, commit_index = _HEAD.unpack_from(record)
        vote, flags = json.loads(record[_HEAD.size :])
    except (struct.error, TypeError, ValueError) as error:
        raise ValueError(f"malformed head: {error}") from error
    if not (vote is None or isinstance(vote, str)) or not isinstance(flags, dict):
        raise ValueError("malformed head: vote or flags have the wrong type")
    return Head(log_id, floor, first, last, lowest, term, commit_index, vote, flags)


@dataclass(slots=True)
class LogBatch:
    """What one synced write does to the log, in this order.

    `rebase`: drop the whole log and go on from these entries (rule A12; term and vote stay).
    `truncate_from`: drop the entries with this index and above. `entries`: append, contiguous.
    `drop_below`: drop the entries with a smaller index, which the state covers. `term`, `vote`:
    taken together whenever `term` is given. `commit_index`: advisory. `flags`: replaces them all.
    `members`: index and term of the newest of `entries` that is a set of members, remembered
    outside of the log before the write (L4).
    """

    entries: list[Entry] = field(default_factory=list)
    truncate_from: int | None = None
    drop_below: int | None = None
    rebase: list[Entry] | None = None
    term: int | None = None
    vote: str | None = None
    commit_index: int | None = None
    flags: dict[str, int] | None = None
    members: tuple[int, int] | None = None
