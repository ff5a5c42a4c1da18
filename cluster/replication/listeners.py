"""Who hears of something, in the order in which they asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

What = ParamSpec("What")


class Listeners(Generic[What]):
    """Called with `What`, one after the other."""

    def __init__(self) -> None:
        self._all: list[Callable[What, None]] = []

    def append(self, listener: Callable[What, None]) -> None:
        """It hears what is told from now on."""
        self._all.append(listener)

    def tell(self, *what: What.args, **more: What.kwargs) -> None:
        """All hear it."""
        for listener in self._all:
            listener(*what, **more)
