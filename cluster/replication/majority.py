"""What a majority has reached: entries on disk, rounds answered, times. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def reached_by(count: int, values: Iterable[float], otherwise: float) -> float:
    """The greatest value that `count` of `values` have reached; `otherwise` for too few values."""
    ordered = sorted(values, reverse=True)
    return ordered[count - 1] if len(ordered) >= count else otherwise
