"""Pairs of the state's ordered map as they travel: between nodes, to a backup, in its file.

    key size (4), value size (4), key, value, and again; keys ascend within and between chunks

Numbers are big-endian. A chunk ends with a whole pair.
"""

from __future__ import annotations

import struct

_SIZES = struct.Struct(">II")


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
