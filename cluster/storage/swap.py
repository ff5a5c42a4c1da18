"""Puts a finished database in the place of another, so that a crash at any step loses neither.

    X.building     being built; worthless, removed at the next start
    X.ready        whole, verified and synced, about to become X
    X              in use
    set-aside/     what X was before; never deleted

The moment X is moved away the swap is decided: whoever finds X.ready without X finishes it. While
X is still there, X.ready is only a copy and is dropped.
"""

from __future__ import annotations

import os
from pathlib import Path

from cluster.storage.files import discard_unfinished, set_aside, sync_directory


def ready_name(directory: Path) -> Path:
    """Where the replacement of `directory` waits."""
    return directory.with_name(directory.name + ".ready")


def swap_in(directory: Path) -> Path | None:
    """Set `directory` aside, if it is there, and put its finished replacement in its place.

    Returns where the original went. Raises OSError.
    """
    original = set_aside(directory) if directory.exists() else None
    os.rename(ready_name(directory), directory)
    sync_directory(directory.parent)
    return original


def finish_swap(directory: Path) -> None:
    """Finish or drop what a crash interrupted. Raises OSError."""
    ready = ready_name(directory)
    if ready.exists():
        if directory.exists():
            discard_unfinished(ready)
        else:
            os.rename(ready, directory)
            sync_directory(directory.parent)
    for unfinished in (".building", ".checking", ".ready.building"):
        discard_unfinished(directory.with_name(directory.name + unfinished))
