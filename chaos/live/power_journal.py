"""Reads the journal of a shimmed disk: what no sync has covered when the power fails. Pure.

A sync of a file covers the bytes written to it before, and its names; one of a folder, the names
in it. Names reach a disk in the order in which they were changed, as in the journals of ext4 and
xfs: those that survive a cut are a prefix, which holds at least what a sync covered. After a sync
that failed, the system takes the pages for clean: no later sync covers them.
"""

from __future__ import annotations

import enum
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

# `struct record` of shim/disk.h.
_HEAD = struct.Struct("<IH3H4xQ2Qqqq")
_SIZE_AND_KIND = struct.Struct("<IH")
# What is older the system has long written back by itself: it does after 30 s. Bytes of journal,
# a minute and more of full load.
WRITTEN_BACK_SIZE = 16 << 20


class Kind(enum.IntEnum):
    """As `enum record_kind` of shim/disk.h."""

    WRITE = 1
    TRUNCATE = 2
    SYNC = 3
    SYNC_DIRECTORY = 4
    SYNC_FAILED = 5
    CREATE = 6
    LINK = 7
    RENAME = 8
    UNLINK = 9
    MKDIR = 10
    RMDIR = 11
    IMAGE = 12


@dataclass(slots=True)
class Record:
    """One record. `position`: its offset, which is its time; `paths`: up to three, as `Kind` needs
    them; `old`: the bytes that a change replaced. Sizes and offsets in bytes."""

    position: int
    kind: Kind
    inode: int
    parents: tuple[int, int]
    offset: int
    length: int
    old_size: int
    paths: tuple[str, str, str]
    old: bytes
    durable: bool = False  # covered by a sync, though a change before it is not
    lost: bool = False  # its sync failed: none will cover it


@dataclass
class FileTrace:
    """One file since it was last synced whole. `changes`: in order, the first is not durable;
    `image`: "", or a copy that these changes had led to; what came later was not seen."""

    changes: list[Record] = field(default_factory=list)
    image: str = ""

    def synced(self, covers: int) -> None:
        """A sync that began at this position of the journal has succeeded."""
        if self.image:
            self.image, self.changes = "", []
        for change in self.changes:
            change.durable = change.durable or (change.position < covers and not change.lost)
        first = next((at for at, one in enumerate(self.changes) if not one.durable), None)
        self.changes = [] if first is None else self.changes[first:]

    def sync_failed(self, covers: int) -> None:
        """So far nothing of what it was to cover is durable, and nothing of it will be."""
        for change in self.changes:
            change.lost = change.lost or (change.position < covers and not change.durable)


@dataclass
class Journal:
    """What a whole journal comes to. `names`: changes of names in order, of which the first
    `sure` survive; `files`: by inode, those with anything that is not durable."""

    files: dict[int, FileTrace] = field(default_factory=dict)
    names: list[Record] = field(default_factory=list)
    sure: int = 0


def records(data: bytes, written_back_size: int = WRITTEN_BACK_SIZE) -> Iterator[Record]:
    """Every whole record but for those of what was written back; a kill may leave half of one at
    the end, of a change not made."""
    position = 0
    while position < len(data) - written_back_size:
        size, kind = _SIZE_AND_KIND.unpack_from(data, position)
        if kind == Kind.IMAGE:  # of a mapped file, of which nothing is written back that is seen
            break
        position += size
    while position + _HEAD.size <= len(data):
        size, kind, *sizes, inode, parent, parent2, offset, length, old_size = _HEAD.unpack_from(
            data, position
        )
        if position + size > len(data):
            return
        at = position + _HEAD.size
        paths = []
        for path_size in sizes:
            paths.append(data[at : at + path_size].decode())
            at += path_size
        yield Record(
            *(position, Kind(kind), inode, (parent, parent2), offset, length, old_size),
            (paths[0], paths[1], paths[2]),
            data[at : position + size],
        )
        position += size


def read_journal(data: bytes, written_back_size: int = WRITTEN_BACK_SIZE) -> Journal:
    """What is not durable after all that `data` tells."""
    return _Reading().run(records(data, written_back_size))


class _Reading:
    def __init__(self) -> None:
        self._found = Journal()
        self._files: defaultdict[int, FileTrace] = defaultdict(FileTrace)
        # Places in `names` by the inodes that they touch.
        self._touching: defaultdict[int, list[int]] = defaultdict(list)

    def run(self, found: Iterator[Record]) -> Journal:
        for record in found:
            self._one(record)
        self._found.files = {
            inode: one for inode, one in self._files.items() if one.changes or one.image
        }
        return self._found

    def _one(self, record: Record) -> None:
        kind, inode = record.kind, record.inode
        if kind in (Kind.WRITE, Kind.TRUNCATE):
            if not self._files[inode].image:
                self._files[inode].changes.append(record)
        elif kind == Kind.SYNC:
            if inode in self._files:
                self._files[inode].synced(record.offset)
            self._sure(inode, record.offset)
        elif kind == Kind.SYNC_FAILED:
            if inode in self._files:
                self._files[inode].sync_failed(record.offset)
        elif kind == Kind.SYNC_DIRECTORY:
            self._sure(inode, record.offset)
        elif kind == Kind.IMAGE:
            self._image(record)
        else:
            self._name(record)

    def _image(self, record: Record) -> None:
        """A mapping begins where the file was not synced before: what is durable is as old."""
        trace = self._files[record.inode]
        if record.offset:
            trace.synced(record.position)
        trace.image = trace.image or record.paths[0]

    def _name(self, record: Record) -> None:
        if record.kind == Kind.CREATE:  # the inode may have been another file's
            self._files.pop(record.inode, None)
        for inode in {record.inode, *record.parents} - {0}:
            self._touching[inode].append(len(self._found.names))
        self._found.names.append(record)

    def _sure(self, inode: int, covers: int) -> None:
        """The last change of a name of this inode, or in it, before `covers` survives, and with it
        all before it."""
        for place in reversed(self._touching[inode]):
            if self._found.names[place].position < covers:
                self._found.sure = max(self._found.sure, place + 1)
                return
