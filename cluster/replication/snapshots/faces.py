"""What the storage gives to a transfer. All of it may block: it runs in an executor, one call at a
time for each object."""

from __future__ import annotations

from typing import Protocol


class StateExport(Protocol):
    """The state as it was at one index, however it changes meanwhile."""

    @property
    def index(self) -> int:
        """The last entry that it includes."""

    @property
    def terms(self) -> tuple[int, int]:
        """Of entry index - 1 and of entry index."""

    @property
    def digest(self) -> int:
        """Of what the entries up to there wrote (A14)."""

    def read(self, size: int) -> bytes:
        """The next pairs, packed: at least `size` bytes unless it ends, empty at the end. Raises
        DataDamaged, StorageFailed."""

    def close(self) -> None:
        """Lets go of the state. A second call does nothing."""


class IncomingState(Protocol):
    """A state that is being built aside."""

    def add(self, chunk: bytes) -> None:
        """Takes what `StateExport.read` gave, in that order. Raises ValueError for anything else,
        StorageFailed."""

    def finish(self) -> None:
        """All of it is on disk, and whoever opens the folder next finds it in the place of the
        state that is there now. Raises StorageFailed."""

    def discard(self) -> None:
        """It is gone, also after `finish`, as long as the folder was not opened again. A second
        call does nothing. Raises StorageFailed."""
