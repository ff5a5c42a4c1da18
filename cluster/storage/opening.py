"""Opens a LevelDB folder only after a copy of it passed every check, and creates new ones whole.

Opening rewrites a folder: LevelDB turns write-ahead files into tables and deletes them. So that a
folder which must be refused stays as it was, the checks run on a copy beside it (tables as hard
links, which LevelDB never writes to), cut to what is readable. Only when they pass is a torn end
cut off in place, its bytes first kept in set-aside/.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.storage.database import Database
from cluster.storage.errors import DataDamaged, NewerFormat, OlderFormat, StorageFailed
from cluster.storage.files import (
    SET_ASIDE,
    discard_unfinished,
    free_name,
    is_missing_or_empty,
    make_directory,
    sync_directory,
    sync_file,
    sync_tree,
)
from cluster.storage.manifest import Manifest, live_logs, read_manifest, table_path
from cluster.storage.wal import Scan, scan


@dataclass(frozen=True, slots=True)
class Condition:
    """A folder as found, unopened. `cuts`: the count of good bytes of each file with a torn end."""

    directory: Path
    manifest: Manifest
    logs: list[Scan]
    cuts: dict[Path, int]

    def end(self) -> tuple[Path, int]:
        """File and offset where the readable data ends, for messages about what is missing."""
        if self.logs:
            return self.logs[-1].path, self.logs[-1].end
        return self.manifest.path, self.manifest.end


Verify = Callable[[Database, Condition], None]


def examine_folder(directory: Path) -> Condition:
    """Read the folder's manifest and write-ahead files; nothing is opened or changed.

    Raises DataDamaged for everything that a power cut in the last write cannot explain: a missing
    or short table, or an unreadable record that something later follows. OSError if unreadable.
    """
    manifest = read_manifest(directory)
    for number, size in sorted(manifest.tables.items()):
        path = table_path(directory, number)
        if not path.exists():
            raise DataDamaged(path, "the file is missing")
        found = path.stat().st_size
        if found < size:
            raise DataDamaged(path, f"the file ends after {found} of {size} bytes", offset=found)
    cuts: dict[Path, int] = {}
    if manifest.bad is not None:
        cuts[manifest.path] = manifest.end
    logs: list[Scan] = []
    following: int | None = None
    broken: Scan | None = None
    for path in live_logs(directory, manifest):
        found_log = scan(path, following)
        if broken is not None and found_log.count:
            raise _later_batches(broken)
        if found_log.bad is not None:
            if found_log.later_survives:
                raise _later_batches(found_log)
            cuts[path] = found_log.end
            broken = broken or found_log
        following = found_log.next_sequence or following
        logs.append(found_log)
    return Condition(directory, manifest, logs, cuts)


def _later_batches(broken: Scan) -> DataDamaged:
    return DataDamaged(
        broken.path,
        "a batch is unreadable or missing here, and later ones, written after it, are there",
        offset=broken.bad,
    )


def copy_folder(condition: Condition, target: Path) -> None:
    """Build a copy of the examined folder at `target` (missing so far), torn ends cut off.

    Tables are hard links where the file system has them. Raises OSError.
    """
    target.mkdir()
    source = condition.directory
    for number in condition.manifest.tables:
        table = table_path(source, number)
        try:
            os.link(table, target / table.name)
        except OSError:
            shutil.copyfile(table, target / table.name)
    shutil.copyfile(source / "CURRENT", target / "CURRENT")
    for path in [condition.manifest.path, *(found.path for found in condition.logs)]:
        content = path.read_bytes()
        (target / path.name).write_bytes(content[: condition.cuts.get(path, len(content))])


def relocated(damage: DataDamaged, directory: Path) -> DataDamaged:
    """The damage found in a copy, told of the original; a file only the copy has is not named."""
    if damage.path.parent == directory or damage.path == directory:
        return damage
    original = directory / damage.path.name
    if original.is_file():
        return DataDamaged(original, damage.problem, offset=damage.offset)
    return DataDamaged(directory, damage.problem)


def check_copy(condition: Condition, verify: Verify) -> None:
    """Run `verify` on a copy of the examined folder. Raises what it raises, and OSError."""
    directory = condition.directory
    checking = directory.with_name(directory.name + ".checking")
    discard_unfinished(checking)
    try:
        copy_folder(condition, checking)
        database = Database.open(checking, create=False)
        try:
            verify(database, condition)
        finally:
            database.close()
    except DataDamaged as damage:
        raise relocated(damage, directory) from damage
    except (NewerFormat, OlderFormat) as error:
        raise type(error)(directory, error.found, error.known) from error
    finally:
        discard_unfinished(checking)


def cut_torn_ends(condition: Condition) -> None:
    """Cut each torn file at its good end, after its tail is safe in set-aside/. Raises OSError.

    A crash at any step leaves a folder that is either still torn or cut.
    """
    folder = condition.directory.parent / SET_ASIDE
    make_directory(folder)
    for path, end in condition.cuts.items():
        with open(path, "rb") as file:
            file.seek(end)
            tail = file.read()
        kept = free_name(folder, f"{condition.directory.name}-{path.name}-from-{end}")
        kept.write_bytes(tail)
        sync_file(kept)
        sync_directory(folder)
        os.truncate(path, end)
        sync_file(path)


def check_folder(directory: Path, verify: Verify) -> Condition:
    """Examine an existing database and run `verify` on a copy of it; nothing is changed.

    `verify` gets the opened copy and raises DataDamaged or FolderRefused to refuse the folder.
    Returns the condition that `open_folder` takes. Raises also StorageFailed.
    """
    try:
        condition = examine_folder(directory)
        check_copy(condition, verify)
    except OSError as error:
        raise StorageFailed(f"opening {directory} failed: {error}") from error
    return condition


def open_folder(condition: Condition, **options: int) -> Database:
    """Open what `check_folder` found good, with its torn ends cut off. `options`: those of
    `Database.open`. Raises StorageFailed."""
    directory = condition.directory
    if condition.cuts:
        try:
            cut_torn_ends(condition)
        except OSError as error:
            raise StorageFailed(f"opening {directory} failed: {error}") from error
    return Database.open(directory, create=False, **options)


def create_whole(
    directory: Path, fill: Callable[[Database], None], *, bloom_filter_bits: int = 0
) -> None:
    """Create a database at `directory` (missing or empty) that already holds `fill`'s writes.

    It is built under another name and renamed, so that a crash leaves none rather than half of
    one. Raises StorageFailed; DataDamaged if something is there.
    """
    if not is_missing_or_empty(directory):
        raise DataDamaged(directory, "there is data where a new database was to be created")
    building = directory.with_name(directory.name + ".building")
    try:
        discard_unfinished(building)
        database = Database.open(building, create=True, bloom_filter_bits=bloom_filter_bits)
        try:
            fill(database)
        finally:
            database.close()
        sync_tree(building)
        if directory.exists():
            directory.rmdir()
        os.rename(building, directory)
        sync_directory(directory.parent)
    except OSError as error:
        raise StorageFailed(f"creating {directory} failed: {error}") from error
