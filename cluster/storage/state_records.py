"""Records of the state database: the map's pairs, and the head that every batch carries.

    d + key                the value, opaque
    b + number (8 bytes)   format (1), floor, index, term of the entry before it, its term (8 each),
                           digest (4)

Between two nodes pairs travel packed, in chunks:

    key size (4), value size (4), key, value, and again; keys ascend within and between chunks

Numbers are big-endian. The digest is that of everything that the entries up to the index wrote
(rule A14): two states at one index are the same where it is.
"""

from __future__ import annotations

import struct

from cluster.storage.batches import FORMAT

DATA = b"d"
_HEAD = struct.Struct(">BQQQQI")
_SIZES = struct.Struct(">II")


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


def pack_pair(key: bytes, value: bytes) -> bytes:
    """One pair of the map, as part of a chunk."""
    return _SIZES.pack(len(key), len(value)) + key + value


def unpack_pairs(chunk: bytes, after: bytes | None) -> list[tuple[bytes, bytes]]:
    """The pairs of a chunk, whose keys ascend from above `after` (None: from the first) on.

    Raises ValueError for anything that `pack_pair` does not make, and for an empty chunk.
    """
    if not chunk:
        raise ValueError("a chunk without pairs")
    pairs: list[tuple[bytes, bytes]] = []
    offset, size = 0, len(chunk)
    while offset < size:
        if offset + _SIZES.size > size:
            raise ValueError(f"a chunk ends within the sizes at byte {offset}")
        key_size, value_size = _SIZES.unpack_from(chunk, offset)
        start = offset + _SIZES.size
        middle = start + key_size
        offset = middle + value_size
        if offset > size:
            raise ValueError(f"a chunk ends within the pair at byte {start}")
        key = chunk[start:middle]
        if after is not None and key <= after:
            raise ValueError(f"a chunk's keys do not ascend at byte {start}")
        pairs.append((key, chunk[middle:offset]))
        after = key
    return pairs
