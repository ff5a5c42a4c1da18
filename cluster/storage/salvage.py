"""Reads what is still readable in a damaged database, from a copy; the original is not touched.

Write-ahead files are reduced to the batches that match their checksums, then LevelDB's own repair
runs on the copy, and drops the table blocks that do not. What comes out is no longer the content
at any one moment: where a newer record was lost, an older one of the same key may show again. So
entries are checked again, and a salvaged state is offered only as a loss.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import plyvel

from cluster.storage.batches import PREFIX, STOP, batch_number, check_format
from cluster.storage.database import Database
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.files import discard_unfinished
from cluster.storage.log_records import (
    ENTRY_STOP,
    Head,
    decode_head,
    entry_index,
    entry_key,
    entry_term,
)
from cluster.storage.manifest import live_logs, read_manifest, table_path
from cluster.storage.wal import frame_records, readable_records


def _files_to_copy(directory: Path) -> list[Path]:
    """What the database consists of; all tables and logs where its manifest is unreadable."""
    try:
        manifest = read_manifest(directory)
    except DataDamaged:
        return [path for path in directory.iterdir() if path.suffix in (".ldb", ".sst", ".log")]
    tables = [table_path(directory, number) for number in manifest.tables]
    return [*(path for path in tables if path.exists()), *live_logs(directory, manifest)]


@contextmanager
def salvaged_copy(directory: Path) -> Iterator[Database]:
    """A repaired copy of `directory`, open, removed at the end. Raises StorageFailed."""
    copy = directory.with_name(directory.name + ".checking")
    discard_unfinished(copy)
    try:
        copy.mkdir()
        for path in _files_to_copy(directory):
            target = copy / path.name
            if path.suffix == ".log":
                # LevelDB's repair does not check the checksums of these: a flipped bit would pass.
                target.write_bytes(frame_records(readable_records(path.read_bytes())))
                continue
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)
        plyvel.repair_db(str(copy), paranoid_checks=True, compression=None)
        database = Database.open(copy, create=False)
        try:
            yield database
        finally:
            database.close()
    except (OSError, plyvel.Error) as error:
        raise StorageFailed(f"a copy of {directory} could not be repaired: {error}") from error
    finally:
        discard_unfinished(copy)


def newest_readable_head(database: Database) -> tuple[int, Head] | None:
    """Number and head of the newest readable batch. Raises NewerFormat, StorageFailed."""
    best: tuple[int, Head] | None = None
    for key, record in database.iterate(PREFIX, STOP):
        check_format(database, record)
        try:
            best = batch_number(key), decode_head(record)
        except ValueError:  # it is not kept; an older one speaks for the log
            continue
    return best


def readable_runs(database: Database, first: int) -> list[tuple[int, int]]:
    """Ranges (first and last index, both included) of entries from `first` on without a hole.

    A fall of the term ends the walk: what follows is from a time before a truncation. Raises
    NewerFormat, StorageFailed.
    """
    runs: list[tuple[int, int]] = []
    term = 0
    for key, record in database.iterate(entry_key(first), ENTRY_STOP):
        check_format(database, record)
        index, following = entry_index(key), entry_term(record)
        if following < term:
            break
        term = following
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs
