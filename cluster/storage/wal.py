"""Reader of LevelDB's record format (write-ahead files and manifests), only to examine.

A file is a row of 32 KiB blocks; a record is one FULL fragment or FIRST, MIDDLE..., LAST; a
fragment is crc32c (masked, 4 bytes), length (2 bytes), type (1 byte), data; source: LevelDB's
`doc/log_format.md`. Every record of a write-ahead file is one write batch: sequence number
(8 bytes), count (4 bytes), then the changes. Sequence numbers have no gaps, as every batch starts
where the one before it ended.

LevelDB's own reader skips what it cannot read, or takes it for the end of the file. This one stops
at the first bad byte, says where it is, and looks whether anything written later survived.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

BLOCK_SIZE = 32 * 1024
HEAD_SIZE = 7
BATCH_HEAD_SIZE = 12
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
_HEAD = struct.Struct("<IHB")
_BATCH_HEAD = struct.Struct("<QI")
_START = re.compile(rb"[\x01\x02]")


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record: where its first fragment starts (bytes from 0), and what it holds."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Scan:
    """What a write-ahead file holds.

    `count`: whole records before the first bad one. `first_sequence`, `next_sequence`: the range
    that they cover, first included, next excluded; both None without records. `end`: bytes that
    are good. `bad`: offset of the first bad record, None if the file is clean to its end.
    `later_survives`: after the bad record something is readable that was written after it.
    """

    path: Path
    size: int
    count: int
    first_sequence: int | None
    next_sequence: int | None
    end: int
    bad: int | None
    later_survives: bool


def unmask(masked: int) -> int:
    """The crc32c behind LevelDB's masked form (rotated by 15 bits, plus a constant)."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """LevelDB's masked crc32c of `data`."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class Reader:
    """Walks the records of one file's bytes; afterwards `end` and `bad` say how it went."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.end = 0
        self.bad: int | None = None

    def _fragment(self, offset: int) -> tuple[int, bytes] | None:
        """Type and data of the fragment at `offset`, None where none is readable."""
        start = offset + HEAD_SIZE
        if start > len(self._data):
            return None
        masked, length, kind = _HEAD.unpack_from(self._data, offset)
        if not FULL <= kind <= LAST or start + length > len(self._data):
            return None
        if offset % BLOCK_SIZE + HEAD_SIZE + length > BLOCK_SIZE:
            return None
        if masked_crc(self._data[offset + 6 : start + length]) != masked:
            return None
        return kind, self._data[start : start + length]

    def records(self, begin: int = 0) -> Iterator[Record]:
        """Every whole record from `begin` (a block's start) up to the first bad byte.

        Past the first block, the rest of a record that started before `begin` is passed over.
        """
        self.bad = None
        offset = start = begin
        passing = begin > 0
        parts: list[bytes] = []
        inside = False
        while True:
            if BLOCK_SIZE - offset % BLOCK_SIZE < HEAD_SIZE:  # too small for a head: padding
                offset += BLOCK_SIZE - offset % BLOCK_SIZE
            if offset >= len(self._data):
                break
            found = self._fragment(offset)
            if found is not None and passing and found[0] in (MIDDLE, LAST):
                offset += HEAD_SIZE + len(found[1])
                continue
            passing = False
            if found is None or (found[0] in (MIDDLE, LAST)) != inside:
                self.bad = start if inside else offset
                return
            kind, part = found
            if not inside:
                start, parts = offset, []
            parts.append(part)
            offset += HEAD_SIZE + len(part)
            inside = kind in (FIRST, MIDDLE)
            if not inside:
                self.end = offset
                yield Record(start, parts[0] if len(parts) == 1 else b"".join(parts))
        if inside:
            self.bad = start

    def later_survives(self, sequence: int | None) -> bool:
        """Whether after `bad` the start of a batch is readable that is numbered past `sequence`
        (None: any start of a record, for files whose records carry no number).

        Each batch is synced before the next is written, so a readable later start proves that the
        bad record had been on disk and was damaged there. Fragments in the middle of a record
        prove nothing: a power cut may keep any pages of the one batch that was being written.
        """
        assert self.bad is not None
        for match in _START.finditer(self._data, self.bad + 6):
            offset = match.start() - 6
            if offset == self.bad:
                continue
            found = self._fragment(offset)
            if found is None:
                continue
            part = found[1]
            if sequence is None:
                return True
            if len(part) < BATCH_HEAD_SIZE:
                if found[0] == FIRST:  # cut short by its block's end: its number is out of sight
                    return True
                continue
            if _BATCH_HEAD.unpack_from(part)[0] > sequence:
                return True
        return False


def _sequence(data: bytes) -> int:
    """The sequence number that a batch starts with, -1 if it is too short for one."""
    return int.from_bytes(data[:8], "little") if len(data) >= BATCH_HEAD_SIZE else -1


def readable_records(data: bytes) -> list[bytes]:
    """Every whole record in a damaged file; after damage, reading goes on at the next block.

    Only there: a block starts with a fragment that LevelDB wrote, but within one, a client's
    payload could look like a record.
    """
    reader = Reader(data)
    found: list[bytes] = []
    begin: int | None = 0
    while begin is not None:
        found.extend(record.data for record in reader.records(begin))
        bad = reader.bad
        begin = None if bad is None else max(begin, bad) // BLOCK_SIZE * BLOCK_SIZE + BLOCK_SIZE
    return found


def frame_records(records: list[bytes]) -> bytes:
    """A file that holds `records`."""
    file = bytearray()
    for record in records:
        left, kind = record, FULL
        while True:
            room = BLOCK_SIZE - len(file) % BLOCK_SIZE
            if room < HEAD_SIZE:
                file += bytes(room)
                continue
            part, left = left[: room - HEAD_SIZE], left[room - HEAD_SIZE :]
            if left:
                kind = FIRST if kind == FULL else MIDDLE
            elif kind != FULL:
                kind = LAST
            typed = bytes([kind]) + part
            file += _HEAD.pack(masked_crc(typed), len(part), kind) + part
            if not left:
                break
    return bytes(file)


def scan(path: Path, expected_sequence: int | None = None) -> Scan:
    """Examine one write-ahead file. Raises OSError if it cannot be read.

    `expected_sequence` is where the file before it ended, None for the first. A batch that does
    not start where the last one ended counts as bad: something between the two is gone.
    """
    return scan_data(path, path.read_bytes(), expected_sequence)


def scan_data(path: Path, data: bytes, expected_sequence: int | None = None) -> Scan:
    """`scan` of a file whose content is at hand."""
    reader = Reader(data)
    count, end = 0, 0
    first: int | None = None
    following = expected_sequence
    odd: Record | None = None
    for record in reader.records():
        if len(record.data) < BATCH_HEAD_SIZE:
            odd = record
            break
        sequence, changes = _BATCH_HEAD.unpack_from(record.data)
        if following is not None and sequence != following:
            odd = record
            break
        first = sequence if first is None else first
        following = sequence + changes
        count, end = count + 1, reader.end
    later = False
    if odd is not None:  # readable, but not what must come here: stale, or what came before is gone
        reader.bad = odd.offset
        later = _sequence(odd.data) >= (following or 0)
    if reader.bad is not None:
        later = later or reader.later_survives((following or 1) - 1)
    return Scan(
        path,
        len(data),
        count,
        first,
        following if first is not None else None,
        end,
        reader.bad,
        later,
    )
