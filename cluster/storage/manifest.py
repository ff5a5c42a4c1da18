"""What a LevelDB folder says that it consists of: CURRENT, its manifest, and the files in use.

Read without opening the database, because opening one changes the folder. A manifest is a file of
records (see `wal`); each is a list of tagged fields, applied one after the other; source: LevelDB's
`db/version_edit.cc`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cluster.storage.errors import DataDamaged
from cluster.storage.wal import Reader

_COMPARATOR, _LOG_NUMBER, _NEXT_FILE, _LAST_SEQUENCE = 1, 2, 3, 4
_COMPACT_POINTER, _DELETED_FILE, _NEW_FILE, _PREVIOUS_LOG = 5, 6, 7, 9
_LOG_NAME = re.compile(r"^(\d+)\.log$")
_CURRENT = re.compile(rb"^MANIFEST-\d+\n$")


@dataclass(slots=True)
class Manifest:
    """The files in use. `tables`: size in bytes by file number; `log_number`: write-ahead files
    with a smaller number are obsolete. `end`: good bytes; `bad`: offset of a torn or damaged end.
    """

    path: Path
    tables: dict[int, int] = field(default_factory=dict)
    log_number: int = 0
    previous_log: int = 0
    end: int = 0
    bad: int | None = None


class _Fields:
    """A cursor over one manifest record. Raises ValueError where it ends early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def number(self) -> int:
        value = shift = 0
        while True:
            if self._offset >= len(self._data) or shift > 63:
                raise ValueError("number cut short")
            byte = self._data[self._offset]
            self._offset += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def skip_bytes(self) -> None:
        size = self.number()
        if self._offset + size > len(self._data):
            raise ValueError("bytes cut short")
        self._offset += size

    def more(self) -> bool:
        return self._offset < len(self._data)


def _apply(manifest: Manifest, data: bytes) -> None:
    fields = _Fields(data)
    while fields.more():
        tag = fields.number()
        if tag == _COMPARATOR:
            fields.skip_bytes()
        elif tag == _LOG_NUMBER:
            manifest.log_number = fields.number()
        elif tag == _PREVIOUS_LOG:
            manifest.previous_log = fields.number()
        elif tag in (_NEXT_FILE, _LAST_SEQUENCE):
            fields.number()
        elif tag == _COMPACT_POINTER:
            fields.number()
            fields.skip_bytes()
        elif tag == _DELETED_FILE:
            fields.number()
            manifest.tables.pop(fields.number(), None)
        elif tag == _NEW_FILE:
            fields.number()
            number = fields.number()
            manifest.tables[number] = fields.number()
            fields.skip_bytes()
            fields.skip_bytes()
        else:
            raise ValueError(f"unknown field {tag}")


def read_manifest(directory: Path) -> Manifest:
    """The manifest that `directory`/CURRENT names.

    Raises DataDamaged where CURRENT or the manifest is missing or unreadable from its start.
    """
    current = directory / "CURRENT"
    try:
        name = current.read_bytes()
    except FileNotFoundError:
        raise DataDamaged(current, "the file is missing, though its folder is not empty") from None
    if not _CURRENT.match(name):
        raise DataDamaged(current, "it does not name a manifest", offset=0)
    path = directory / name.decode().strip()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataDamaged(path, "the file is missing") from None
    manifest = Manifest(path)
    reader = Reader(data)
    for record in reader.records():
        try:
            _apply(manifest, record.data)
        except ValueError as error:
            raise DataDamaged(path, str(error), offset=record.offset) from error
        manifest.end = reader.end
    manifest.bad = reader.bad
    if manifest.bad is not None and _start_survives(data, manifest.bad):
        raise DataDamaged(path, "a record in the middle is unreadable", offset=manifest.bad)
    if manifest.end == 0:
        raise DataDamaged(path, "no record is readable", offset=0)
    return manifest


def _start_survives(data: bytes, bad: int) -> bool:
    """Whether a later manifest record is readable (records here carry no sequence number)."""
    reader = Reader(data)
    reader.bad = bad
    return reader.later_survives(None)


def table_path(directory: Path, number: int) -> Path:
    """The table's file: `.ldb`, or `.sst` as very old versions named it."""
    path = directory / f"{number:06d}.ldb"
    old = directory / f"{number:06d}.sst"
    return old if not path.exists() and old.exists() else path


def live_logs(directory: Path, manifest: Manifest) -> Iterator[Path]:
    """The write-ahead files that LevelDB would replay, oldest first."""
    numbers = sorted(
        int(match.group(1)) for match in map(_LOG_NAME.match, _names(directory)) if match
    )
    for number in numbers:
        if number >= manifest.log_number or number == manifest.previous_log:
            yield directory / f"{number:06d}.log"


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]
