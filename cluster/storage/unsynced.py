"""Whether a member's log may lack an end that it acknowledged: durability `interval`.

    absent --opened with `interval`--> present --closed, all of it synced--> absent

Whoever finds the mark at an opening has crashed. What it acknowledged and had not synced is gone,
and the others count on it: it must say so (rule A8, flag `uncertain`), or the leader would never
send it again.
"""

from __future__ import annotations

from pathlib import Path

from cluster.storage.errors import StorageFailed
from cluster.storage.files import sync_directory, write_whole

MARK_NAME = "unsynced"


class UnsyncedMark:
    """The mark in the data folder at `path`. Every method raises StorageFailed."""

    def __init__(self, path: Path) -> None:
        self._mark = path / MARK_NAME

    @property
    def is_there(self) -> bool:
        """Whether the last process ended before everything was synced."""
        return self._mark.exists()

    def put(self) -> None:
        """Before anything is acknowledged."""
        try:
            if not self._mark.exists():
                write_whole(self._mark, b"durability: interval\n")
        except OSError as error:
            raise StorageFailed(f"writing {self._mark} failed: {error}") from error

    def remove(self) -> None:
        """Everything is synced."""
        try:
            if self._mark.exists():
                self._mark.unlink()
                sync_directory(self._mark.parent)
        except OSError as error:
            raise StorageFailed(f"removing {self._mark} failed: {error}") from error
