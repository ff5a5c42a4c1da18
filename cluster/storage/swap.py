"""Puts a finished database in the place of another, so that a crash at any step loses neither.

    X.building     being built; worthless, removed at the next start
    X.ready        whole, verified and synced, about to become X
    X              in use
    set-aside/     what X was before; never deleted

The moment X is moved away the swap is decided: whoever finds X.ready without X finishes it. While
X is still there, X.ready is only a copy and is dropped.

A state that came from another node takes X's place while X is whole and in use, so that it is
decided otherwise: by its name alone.

    X.incoming     being received; worthless, removed at the next start
    X.received     whole and synced; becomes X at the next opening, whether or not X is there
    X.replaced     what X was; superseded, removed when the new X is in its place
    X.dropped      was X.received until a newer one came or it was given up; worthless
"""

from __future__ import annotations

import os
from pathlib import Path

from cluster.storage.files import discard_unfinished, set_aside, sync_directory


def ready_name(directory: Path) -> Path:
    """Where the replacement of `directory` waits."""
    return directory.with_name(directory.name + ".ready")


def incoming_name(directory: Path) -> Path:
    """Where a replacement of `directory` is built while it is received."""
    return directory.with_name(directory.name + ".incoming")


def received_name(directory: Path) -> Path:
    """Where a received replacement of `directory` waits, decided."""
    return directory.with_name(directory.name + ".received")


def replaced_name(directory: Path) -> Path:
    """Where `directory` goes when its received replacement takes its place."""
    return directory.with_name(directory.name + ".replaced")


def decide_received(directory: Path) -> None:
    """Make what was built at the incoming name, synced, the next `directory`. Raises OSError."""
    drop_received(directory)
    os.rename(incoming_name(directory), received_name(directory))
    sync_directory(directory.parent)


def drop_received(directory: Path) -> None:
    """Give up a received replacement that has not taken its place. Raises OSError.

    In one step, so that a crash leaves all of it or nothing.
    """
    received = received_name(directory)
    dropped = directory.with_name(directory.name + ".dropped")
    discard_unfinished(dropped)
    if received.exists():
        os.rename(received, dropped)
        sync_directory(directory.parent)
        discard_unfinished(dropped)


def put_received(directory: Path) -> None:
    """Let a received replacement take its place, and finish what a crash interrupted.

    `directory` must not be open. Raises OSError.
    """
    received, replaced = received_name(directory), replaced_name(directory)
    if received.exists():
        if directory.exists():
            discard_unfinished(replaced)
            os.rename(directory, replaced)
            sync_directory(directory.parent)
        os.rename(received, directory)
        sync_directory(directory.parent)
    if directory.exists():
        discard_unfinished(replaced)


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
    for unfinished in (".building", ".checking", ".ready.building", ".incoming", ".dropped"):
        discard_unfinished(directory.with_name(directory.name + unfinished))
