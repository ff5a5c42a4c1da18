"""The deadlines of all calls of a link behind one timer: no call has a timer of its own."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from taskq.client.call import Call

# The heap is swept when it holds so many ended calls beside twice those that lived last time.
ENDED_CALLS_MAX = 1_000


class Deadlines:
    """Calls by deadline. `expired(call, timeout)` is called for each that has not ended by then."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, expired: Callable[[Call, float], None]
    ) -> None:
        self._loop = loop
        self._expired = expired
        self._heap: list[tuple[float, int, Call, float]] = []
        self._numbers = count()  # calls with the same deadline are not compared
        self._live = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Call, timeout: float) -> None:
        """Watches `call.deadline`; a call may be added again with an earlier one."""
        heap = self._heap
        if len(heap) > 2 * self._live + ENDED_CALLS_MAX:
            heap[:] = [entry for entry in heap if not entry[2].future.done()]
            heapq.heapify(heap)
            self._live = len(heap)
        heapq.heappush(heap, (call.deadline, next(self._numbers), call, timeout))
        if self._timer is None or call.deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(call.deadline, self._act)

    def clear(self) -> None:
        """Forgets all calls and the timer."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _act(self) -> None:
        self._timer = None
        heap = self._heap
        now = self._loop.time()
        while heap and (heap[0][0] <= now or heap[0][2].future.done()):
            _, _, call, timeout = heapq.heappop(heap)
            if not call.future.done():
                self._expired(call, timeout)
        if heap and self._timer is None:
            self._timer = self._loop.call_at(heap[0][0], self._act)
