"""When waits end: one heap and one timer for all requests that wait, however many.

An answered request stays in the heap until it comes up or until most of the heap is such.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Protocol

from cluster.server.requester import Requester, Tag

# Below so many, answered requests in the heap are not worth cleaning up.
_SLACK = 64
# Waits that end in one round of the loop: some milliseconds of answers, then others have a turn.
RING_COUNT_MAX = 200


class Timed(Protocol):
    """What a clock watches. `deadline` in loop time; `expire` is called with it when that comes,
    unless it is `answered` by then. `timed`: the clock knows it."""

    deadline: float
    answered: bool
    timed: bool

    @property
    def expire(self) -> Callable[[Any], None]: ...


class Waiter:
    """A request that waits on this node. The fields beside those of `Timed` are those of
    `ParkedClaims`."""

    __slots__ = (
        *("answered", "deadline", "expire", "parked", "queue", "reserve", "session", "tag"),
        *("timed", "want"),
    )

    def __init__(
        self, session: Requester, tag: Tag, deadline: float, expire: Callable[[Any], None]
    ) -> None:
        self.session = session
        self.tag = tag
        self.deadline = deadline
        self.expire = expire
        self.answered = False
        self.timed = False
        self.parked = False
        self.queue = ""
        self.want = 0
        self.reserve = 0


class WaitClock:
    """Deadlines of all waiters of a node; at most `count_max` of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count_max: int) -> None:
        self.loop = loop
        self.count = 0
        self._count_max = count_max
        self._heap: list[tuple[float, int, Timed]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def full(self) -> bool:
        """Whether no more may wait."""
        return self.count >= self._count_max

    def add(self, waiter: Timed) -> None:
        """The request waits from now on."""
        waiter.timed = True
        self.count += 1
        heappush(self._heap, (waiter.deadline, next(self._numbers), waiter))
        self._arm()

    def remove(self, waiter: Timed) -> None:
        """The request is answered."""
        waiter.answered = True
        if waiter.timed:
            waiter.timed = False
            self.count -= 1
            if len(self._heap) > _SLACK + 2 * self.count:
                self._heap = [entry for entry in self._heap if not entry[2].answered]
                heapify(self._heap)

    def _arm(self) -> None:
        if not self._heap:
            return
        deadline = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        # Timers may ring a little early: what is due within a millisecond is due.
        now = self.loop.time() + 0.001
        heap = self._heap
        for _ in range(RING_COUNT_MAX):
            if not heap or heap[0][0] > now:
                break
            waiter = heappop(heap)[2]
            if not waiter.answered:
                waiter.expire(waiter)
                heap = self._heap
        self._arm()

    def stop(self) -> None:
        """No timer is left behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
