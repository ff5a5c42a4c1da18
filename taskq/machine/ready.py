"""Which task of a queue is next: highest priority first, then first in, first out.

A ready task's key ends in (rank, sequence); the smallest is next. Without ageing the rank is
255 - priority. With ageing, one step of priority is worth `ageing_ms` of waiting: the rank is
the moment of becoming ready plus (255 - priority) * ageing_ms, so that nobody who comes more than
255 * ageing_ms later can pass, and the order never has to be computed anew.

`ReadyWindow` is a cache of the next ready tasks of one queue, refilled by `scan` from where it
ended, so that deleted keys are not walked again. It may hold tasks that are no longer ready; who
pops checks the head.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from taskq.limits import PRIORITY_MAX
from taskq.machine import keys
from taskq.machine.task import READY, Task, move
from taskq.machine.view import View

if TYPE_CHECKING:
    from taskq.machine.state import State

# Tasks read ahead at once: large enough to make the scan cheap per task, about 0.3 MiB.
REFILL_COUNT = 2_048
WINDOW_COUNT_MAX = 2 * REFILL_COUNT

# (rank, sequence, task id)
Place = tuple[int, int, bytes]


class ReadyWindow:
    """The next ready tasks of one queue. Everything up to `_edge` is in `_heap`; beyond is not.
    `_edge` None: all ready tasks of the queue are in `_heap`."""

    __slots__ = ("_edge", "_heap", "_prefix", "_view")

    def __init__(self, view: View, queue: str, edge: tuple[int, int] | None) -> None:
        self._view = view
        self._prefix = keys.ready_prefix(queue)
        self._heap: list[Place] = []
        self._edge = edge

    def push(self, rank: int, sequence: int, task_id: bytes) -> None:
        """A task became ready."""
        if self._edge is not None and (rank, sequence) > self._edge:
            return
        heappush(self._heap, (rank, sequence, task_id))
        if len(self._heap) > WINDOW_COUNT_MAX:
            self._shrink()

    def pop(self) -> Place | None:
        """Takes the next task, or None when no task is ready."""
        if not self._heap:
            if self._edge is None:
                return None
            self._refill(self._edge)
            if not self._heap:
                return None
        return heappop(self._heap)

    def _shrink(self) -> None:
        self._heap.sort()
        del self._heap[REFILL_COUNT:]
        self._edge = self._heap[-1][:2]

    def _refill(self, edge: tuple[int, int]) -> None:
        after = self._prefix + keys.place(*edge)
        found = self._view.scan(self._prefix, after, REFILL_COUNT)
        start = len(self._prefix)
        self._heap = [(*keys.from_place(key[start:]), task_id) for key, task_id in found]
        heapify(self._heap)
        self._edge = self._heap[-1][:2] if len(found) == REFILL_COUNT else None


def make_ready(state: State, task: Task) -> None:
    """Moves a task to READY and to its place: a new one at the end of its priority, or its own."""
    move(state, task, READY)
    queue = state.queues.get(task.queue)
    if task.sequence == 0:
        state.sequence += 1
        task.sequence = state.sequence
        task.rank = PRIORITY_MAX - task.priority
        if queue.ageing_ms:
            task.rank = state.elapsed + task.rank * queue.ageing_ms
    state.view.create(keys.ready_prefix(task.queue) + keys.place(task.rank, task.sequence), task.id)
    queue.put_ready(task.rank, task.sequence, task.id)
    state.readied.add(task.queue)


def leave_ready(state: State, task: Task) -> None:
    """Removes a task's place; its entry in the window is skipped when it comes up."""
    state.view.delete(keys.ready_prefix(task.queue) + keys.place(task.rank, task.sequence))
