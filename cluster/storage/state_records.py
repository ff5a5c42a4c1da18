"""Records of the state database: the map's pairs, and the head that every batch carries.

    d + key                the value, opaque
    b + number (8 bytes)   format (1), floor, index, term of the entry before it, its term (8 each),
                           digest (4)

Numbers are big-endian. Between two nodes, and in backups, pairs travel packed: `taskq/pairs.py`.
The digest is that of everything that the entries up to the index wrote
(rule A14): two states at one index are the same where it is.
"""

from __future__ import annotations

import struct

from cluster.storage.batches import FORMAT

DATA = b"d"
_HEAD = struct.Struct(">BQQQQI")


def after_prefix(prefix: bytes) -> bytes | None:
    """The smallest key greater than every key with `prefix`, None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def encode_state_head(floor: int, index: int, terms: tuple[int, int], digest: int) -> bytes:
    """A batch's record."""
    return _HEAD.pack(FORMAT, floor, index, *terms, digest)


def decode_state_head(record: bytes) -> tuple[int, int, tuple[int, int], int]:
    """(floor, index, terms, digest) of a batch record of our format. Raises ValueError."""
    if len(record) != _HEAD.size:
        raise ValueError(f"a head of {len(record)} bytes")
    _, floor, index, before, term, digest = _HEAD.unpack(record)
    return floor, index, (before, term), digest
