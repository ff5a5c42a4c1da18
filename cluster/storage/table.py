"""Checks one LevelDB table file, block by block, to name the damaged byte and for the scrub.

A table ends in a 48-byte footer that points to the index block; each index entry points to a data
block; each block is followed by a compression byte and a masked crc32c; source: LevelDB's
`doc/table_format.md`. Our databases store blocks uncompressed.
"""

from __future__ import annotations

import struct
from pathlib import Path

from cluster.storage.errors import DataDamaged
from cluster.storage.wal import masked_crc

FOOTER_SIZE = 48
TRAILER_SIZE = 5
_MAGIC = 0xDB4775248B80FB57


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
        if shift > 63:
            raise ValueError("number too long")


def _block(path: Path, data: bytes, offset: int, size: int) -> bytes:
    """The checked block at `offset`. Raises DataDamaged."""
    stop = offset + size
    if stop + TRAILER_SIZE > len(data):
        raise DataDamaged(path, "a block points past the end of the file", offset=offset)
    (masked,) = struct.unpack_from("<I", data, stop + 1)
    if masked_crc(data[offset : stop + 1]) != masked:
        raise DataDamaged(path, "a block does not match its checksum", offset=offset)
    if data[stop] != 0:
        raise DataDamaged(path, "a block is compressed, ours never are", offset=offset)
    return data[offset:stop]


def _handles(block: bytes) -> list[tuple[int, int]]:
    """(offset, size) of each block that an index block points to."""
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    stop = len(block) - 4 * (restarts + 1)
    handles = []
    offset = 0
    while offset < stop:
        _, offset = _varint(block, offset)
        unshared, offset = _varint(block, offset)
        _, offset = _varint(block, offset)
        offset += unshared
        start, offset = _varint(block, offset)
        size, offset = _varint(block, offset)
        handles.append((start, size))
    return handles


def check_table(path: Path) -> int:
    """Read every block of `path`; the count of data blocks.

    Raises DataDamaged naming the first bad block, OSError if the file cannot be read.
    """
    data = path.read_bytes()
    footer = len(data) - FOOTER_SIZE
    if footer < 0:
        raise DataDamaged(path, "the file is too short for a table", offset=len(data))
    if struct.unpack_from("<Q", data, len(data) - 8)[0] != _MAGIC:
        raise DataDamaged(path, "the file does not end as a table does", offset=len(data) - 8)
    try:
        offset = footer
        places = []
        for _ in range(4):
            value, offset = _varint(data, offset)
            places.append(value)
        _block(path, data, places[0], places[1])
        handles = _handles(_block(path, data, places[2], places[3]))
    except (ValueError, IndexError, struct.error) as error:
        raise DataDamaged(path, "the index is unreadable", offset=footer) from error
    for start, size in handles:
        _block(path, data, start, size)
    return len(handles)
