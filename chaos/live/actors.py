"""The tasks of a load: whether one of them ended before its time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


def check(actors: Iterable[asyncio.Task[None]]) -> None:
    """Raises AssertionError where an actor was ended by an error, from that."""
    for actor in actors:
        if actor.done() and not actor.cancelled():
            failure = actor.exception()
            if failure is not None:
                raise AssertionError(f"a client failed: {failure!r}") from failure
