"""Damage at rest: bits flipped and files cut in a node's folder, where it hurts and elsewhere.

A place is a kind of file, and where in it: lengths and values of records, the end and the middle.
Works on the files as they lie there, of a node that runs or does not; all chance is the caller's.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.storage.wal import HEAD_SIZE, Reader
from cluster.storage.witness import SLOT_SIZE, SLOT_SPACING

# The end of a table tells where its blocks are. Bytes.
FOOTER_SIZE = 48
# Into a record's value: behind what LevelDB itself puts there.
INTO_VALUE = HEAD_SIZE + 30
FLIP, CUT = "flip", "cut"

# An offset in a file's content; None where it has no such place.
Where = Callable[[bytes, random.Random], int | None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to damage: in one of the files that `pattern` matches below a data folder."""

    name: str
    pattern: str
    where: Where


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done to a file of `size` bytes: it was cut at `offset`, or, where `bit` is not
    negative, that bit of the byte there was flipped."""

    path: Path
    inode: int
    size: int
    offset: int
    bit: int

    def __str__(self) -> str:
        what = "cut" if self.bit < 0 else f"bit {self.bit} flipped"
        return f"{self.path}: {what} at {self.offset} of {self.size}"

    def mend(self) -> None:
        """Flips the bit back, where nobody has put another file in its place. Damage in a table is
        met only when that block is read, which may be much later. Raises OSError."""
        try:
            if self.bit >= 0 and self.path.stat().st_ino == self.inode:
                _flip(self.path, self.offset, self.bit)
        except FileNotFoundError:
            pass  # removed, or set aside


def damage(folder: Path, place: Place, how: str, chance: random.Random) -> Damage | None:
    """Flips a bit, or cuts the file, there; None where there is no such place. A node that runs may
    remove the file just then. Raises OSError."""
    files = sorted(folder.glob(place.pattern))
    chance.shuffle(files)
    for path in files:
        try:
            content = path.read_bytes()
            offset = place.where(content, chance) if content else None
            if offset is None:
                continue
            bit = chance.randrange(8) if how == FLIP else -1
            done = Damage(path, path.stat().st_ino, len(content), offset, bit)
            if how == CUT:
                os.truncate(path, offset)
            else:
                _flip(path, offset, bit)
            return done
        except FileNotFoundError:
            continue
    return None


def _flip(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1 << bit]))


# --- where ----------------------------------------------------------------------------------------


def _anywhere(content: bytes, chance: random.Random) -> int | None:
    return chance.randrange(len(content))


def _footer(content: bytes, chance: random.Random) -> int | None:
    return len(content) - chance.randint(1, min(FOOTER_SIZE, len(content)))


def _offsets(content: bytes) -> list[int]:
    return [record.offset for record in Reader(content).records()]


def _length(content: bytes, chance: random.Random) -> int | None:
    """One of the two bytes that tell how long a record is."""
    offsets = _offsets(content)
    return chance.choice(offsets) + 4 + chance.randrange(2) if offsets else None


def _value(content: bytes, chance: random.Random) -> int | None:
    offsets = _offsets(content)
    return min(chance.choice(offsets) + INTO_VALUE, len(content) - 1) if offsets else None


def _last(content: bytes, chance: random.Random) -> int | None:
    offsets = _offsets(content)
    return chance.randrange(offsets[-1], len(content)) if offsets else None


def _slot(content: bytes, chance: random.Random) -> int | None:
    start = SLOT_SPACING * chance.randrange(2)
    return start + chance.randrange(SLOT_SIZE) if len(content) >= start + SLOT_SIZE else None


def _database(part: str) -> tuple[Place, ...]:
    return (
        Place(f"{part}: a length in a write-ahead file", f"{part}/*.log", _length),
        Place(f"{part}: a value in a write-ahead file", f"{part}/*.log", _value),
        Place(f"{part}: the end of a write-ahead file", f"{part}/*.log", _last),
        Place(f"{part}: a table", f"{part}/*.ldb", _anywhere),
        Place(f"{part}: the end of a table", f"{part}/*.ldb", _footer),
        Place(f"{part}: a length in the manifest", f"{part}/MANIFEST-*", _length),
        Place(f"{part}: the end of the manifest", f"{part}/MANIFEST-*", _last),
        Place(f"{part}: CURRENT", f"{part}/CURRENT", _anywhere),
    )


LOG_PLACES = _database("log")
STATE_PLACES = _database("state")
WITNESS = Place("a slot of the witness", "witness", _slot)
PLACES = (*LOG_PLACES, *STATE_PLACES, WITNESS)
# Who the node is. Damaged, it is refused: nobody can tell whose data that is.
IDENTITY = Place("the identity", "node.json", _anywhere)
