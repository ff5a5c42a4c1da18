"""Durable steps on plain files: whole-file replacement, synced copies, synced folders.

A rename or a new name is durable only when its folder was synced; every function here does that,
so that a power cut leaves either the state before or the state after.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

SET_ASIDE = "set-aside"  # folder beside log/ and state/ that keeps what was replaced, for ever


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make the content of `path` durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, durably and in one step. Raises OSError."""
    beside = path.with_name(path.name + ".new")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Create `path` (its parent exists) if it is missing, durably. Raises OSError."""
    if not path.is_dir():
        path.mkdir()
        sync_directory(path.parent)


def free_name(folder: Path, name: str) -> Path:
    """A path in `folder` of the form <utc time>-<name> that nothing has yet."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = folder / f"{stamp}-{name}"
    count = 1
    while path.exists():
        count += 1
        path = folder / f"{stamp}-{name}-{count}"
    return path


def set_aside(path: Path) -> Path:
    """Move `path` (file or folder) to set-aside/<utc time>-<its name> beside it, durably.

    Returns the new place. Raises OSError. Nothing is ever deleted.
    """
    folder = path.parent / SET_ASIDE
    make_directory(folder)
    target = free_name(folder, path.name)
    os.rename(path, target)
    sync_directory(folder)
    sync_directory(path.parent)
    return target


def sync_tree(directory: Path) -> None:
    """Make every file of a flat folder and the folder itself durable. Raises OSError."""
    for path in sorted(directory.iterdir()):
        if path.is_file():
            sync_file(path)
    sync_directory(directory)


def is_missing_or_empty(directory: Path) -> bool:
    """True where there is nothing that could be lost at `directory`. Raises OSError."""
    try:
        return not any(directory.iterdir())
    except FileNotFoundError:
        return True


def discard_unfinished(directory: Path) -> None:
    """Remove a folder that was being built, or that another has replaced.

    Only for names that this package itself reserves (`*.building`, `*.checking`, those of
    `swap.py`): their content is a copy of, was never part of, or was superseded in, the data.
    """
    if directory.is_symlink() or not directory.is_dir():
        return
    shutil.rmtree(directory)
