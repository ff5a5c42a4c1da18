"""How far a node has come with its folder, between its start and the moment it serves.

Written by whoever does a step, in whatever thread; read by the probe that tells an operator.
"""

from __future__ import annotations


class Recovery:
    """`step`: what is being done, in words; `done` of `total` entries, where they are counted
    (total 0: they are not). What comes after a start, such as another opening of the folder, is
    none: once over, it stays over."""

    def __init__(self) -> None:
        self.step = "opening the data folder"
        self.done = self.total = 0
        self._base: int | None = None
        self._over = False

    def begin(self, step: str, total: int = 0) -> None:
        """The next step."""
        self.done, self.total = 0, total
        self.step = step

    def replayed(self, applied: int, committed: int) -> None:
        """The folder is open: so much of its log is applied, of what is known to be committed at
        the first call."""
        if self._base is None:
            self._base = applied
            self.begin("replaying the log", committed - applied)
        self.done = applied - self._base
        self._over = self._over or self.done >= self.total

    def __str__(self) -> str:
        """Where it is; empty when it is over."""
        if self._over or not self.total:
            return "" if self._over else self.step
        return f"{self.step}: {min(self.done, self.total)} of {self.total} entries"
