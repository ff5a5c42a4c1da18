"""When the log may forget what the state covers (design section 4).

The state is written behind by the applier, about once a second; a checkpoint is only the decision
to drop log entries below it, but for a tail that lets a node catch up after a short absence. Its
cost does not grow with the number of tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from taskq.limits import MIB

# A11: kept behind the state, so that a short absence needs no snapshot.
TAIL_SIZE = 64 * MIB


class Log(Protocol):
    """What a checkpoint asks of the journal."""

    @property
    def first_index(self) -> int: ...

    @property
    def appended_size(self) -> int: ...

    def tail_start(self, size: int) -> int: ...


class Checkpoints:
    """Due every `interval_secs`, or when `size_max` bytes were appended since the last one. What
    earlier processes left counts: a node that often restarts must not keep its log for ever.
    `held_index()`: the log above it stays, for a snapshot is under way (A11)."""

    def __init__(
        self,
        interval_secs: float,
        size_max: int,
        now: float,
        held_index: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._interval_secs = interval_secs
        self._size_max = size_max
        self._at = now
        self._held_index = held_index
        self._appended = 0

    def due(self, now: float, log: Log, written_index: int) -> int | None:
        """The index below which entries may go, or None. `written_index`: the state on disk."""
        grown = log.appended_size - self._appended
        if now - self._at < self._interval_secs and grown < self._size_max:
            return None
        self._at, self._appended = now, log.appended_size
        tail_size = min(TAIL_SIZE, self._size_max)
        # Two entries stay at or below the state's index (A12).
        start = min(log.tail_start(tail_size), written_index - 1)
        held = self._held_index()
        if held is not None:
            start = min(start, held - 1)
        return start if start > log.first_index else None
