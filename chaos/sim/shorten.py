"""Makes the list of faults of a failing run as short as it goes (delta debugging, Zeller 1999)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shorten(items: Sequence[T], fails: Callable[[list[T]], bool], tries_max: int = 200) -> list[T]:
    """A part of `items`, in order, that still `fails` and of which no single one can go (unless
    `tries_max` runs were not enough). `items` as a whole is known to fail."""
    kept = list(items)
    parts = 2
    tries = 0
    while len(kept) >= 1 and tries < tries_max:
        size = max(len(kept) // parts, 1)
        for start in range(0, len(kept), size):
            rest = kept[:start] + kept[start + size :]
            tries += 1
            if fails(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
            if tries >= tries_max:
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(kept))
    return kept
