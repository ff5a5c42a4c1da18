"""A loop without a clock: time moves when a test says so. The part of asyncio's that we use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Handle:
    def __init__(self, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.callback, self.args = callback, args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> None:
        if not self.cancelled:
            self.callback(*self.args)


class VirtualLoop:
    """`settle` runs what is ready; `advance` lets time pass, timer by timer."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.rounds = 0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., None], *args: Any) -> Handle:
        handle = Handle(callback, args)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., None], *args: Any) -> Handle:
        return self.call_at(self.now + delay, callback, *args)

    def call_at(self, when: float, callback: Callable[..., None], *args: Any) -> Handle:
        handle = Handle(callback, args)
        heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    @property
    def timers(self) -> int:
        """Timers that are set."""
        return sum(not handle.cancelled for _, _, handle in self._timers)

    def settle(self, rounds_max: int = 10_000) -> None:
        while self._ready:
            self.rounds += 1
            assert rounds_max, "does not come to rest"
            rounds_max -= 1
            for _ in range(len(self._ready)):
                self._ready.popleft().run()

    def advance(self, seconds: float) -> None:
        self.settle()
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, handle = heappop(self._timers)
            self.now = max(self.now, when)
            handle.run()
            self.settle()
        self.now = end
