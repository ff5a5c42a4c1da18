"""The bytes of a backup file.

    "taskq backup\n"  format (2)
    kind (1)  size (4)  CRC-32 of kind, size and body (4)  body        and again, ...

    H  the head, first: JSON, for people, too
    C  a chunk of pairs of the state (`taskq/pairs.py`)
    E  the end, last: chunks (8), their bytes (8), SHA-256 of everything before this record (32)

Numbers are big-endian. Nothing follows the end: a file that was cut has none.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

FORMAT = 1
MAGIC = b"taskq backup\n"
START = MAGIC + struct.pack(">H", FORMAT)

HEAD, CHUNK, END = b"H", b"C", b"E"
# Every cluster has come so far when it is founded.
INDEX_MIN = 2
# What a record may hold: a chunk ends with a whole pair, and a pair may fill a frame.
BODY_SIZE_MAX = 32 * 1024 * 1024

RECORD = struct.Struct(">cII")
_ENDING = struct.Struct(">QQ32s")


class NotWhole(ValueError):
    """The file is not, or no longer, what was written. Says where."""


@dataclass(frozen=True)
class Head:
    """Whose state it is. `stale`: nobody asked the leader what was acknowledged by then; `wall_ms`:
    Unix time of whoever took it; see `BackupBegun` for the rest."""

    cluster_id: str
    node_id: str
    server_version: str
    index: int
    terms: tuple[int, int]
    digest: int
    record_format: int
    member_count: int
    stale: bool
    wall_ms: int


def pack_record(kind: bytes, body: bytes) -> bytes:
    """A record's bytes, but for the body."""
    start = struct.pack(">cI", kind, len(body))
    return RECORD.pack(kind, len(body), zlib.crc32(body, zlib.crc32(start)))


def matches(kind: bytes, body: bytes, crc: int) -> bool:
    """Whether a record is what was written."""
    return zlib.crc32(body, zlib.crc32(struct.pack(">cI", kind, len(body)))) == crc


def encode_head(head: Head) -> bytes:
    """The body of the head."""
    return json.dumps(asdict(head), indent=1).encode() + b"\n"


def decode_head(body: bytes) -> Head:
    """Raises NotWhole. Names that this version does not know are left out."""
    try:
        found: dict[str, Any] = json.loads(body)
        head = Head(**{field.name: found[field.name] for field in fields(Head)})
    except (ValueError, KeyError, TypeError) as error:
        raise NotWhole(f"the head is unreadable: {error}") from error
    terms = tuple(head.terms)
    if len(terms) != 2 or not 0 <= terms[0] <= terms[1] or head.index < INDEX_MIN:
        raise NotWhole(f"a state at entry {head.index} with terms {terms}")
    return replace(head, terms=terms)


def encode_end(count: int, size: int, sha256: bytes) -> bytes:
    """The body of the end."""
    return _ENDING.pack(count, size, sha256)


def decode_end(body: bytes) -> tuple[int, int, bytes]:
    """(chunks, their bytes, SHA-256). Raises NotWhole."""
    if len(body) != _ENDING.size:
        raise NotWhole(f"an end of {len(body)} bytes")
    count, size, digest = _ENDING.unpack(body)
    return count, size, digest
