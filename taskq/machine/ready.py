"""Which task of a queue is next: highest priority first, then first in, first out.

A ready task's key ends in (rank, sequence); the smallest is next. Without ageing the rank is
255 - priority. With ageing, one step of priority is worth `ageing_ms` of waiting: the rank is
the moment of becoming ready plus (255 - priority) * ageing_ms, so that nobody who comes more than
255 * ageing_ms later can pass, and the order never has to be computed anew.

`ReadyWindow` is a cache of the next ready tasks of one queue, refilled by `scan` from where it
ended, so that deleted keys are not walked again. It may hold tasks that are no longer ready; who
pops checks the task. `Rooms` keeps the windows of all queues together within bounds.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from taskq.limits import PRIORITY_MAX
from taskq.machine import keys
from taskq.machine.task import READY, Task, move
from taskq.machine.view import View

if TYPE_CHECKING:
    from taskq.machine.state import State

# Tasks read ahead at once by a queue that is claimed from: so many at first, twice as many with
# each refill, and so many at most, which makes the scan cheap per task (about 0.3 MiB).
FIRST_COUNT = 16
REFILL_COUNT = 2_048
# All windows, beside what each has at first: about 20 MiB where each is as full as it may be.
TOTAL_COUNT = 65_536

# (place, task id)
Place = tuple[bytes, bytes]


class Rooms:
    """Shares out what windows may hold: a refill doubles its window's room, and where there is not
    enough for all, those that were not refilled for longest fall back to what they began with."""

    __slots__ = ("_grown", "_total")

    def __init__(self) -> None:
        self._grown: dict[ReadyWindow, None] = {}  # the one refilled last at the end
        self._total = 0

    def grow(self, window: ReadyWindow) -> None:
        """More room for a window that is refilled."""
        self._grown.pop(window, None)
        self._grown[window] = None
        room = min(2 * window.room, REFILL_COUNT)
        self._total += room - window.room
        window.room = room
        while self._total > TOTAL_COUNT:
            oldest = next(iter(self._grown))
            if oldest is window:
                return
            del self._grown[oldest]
            self._total -= oldest.room - FIRST_COUNT
            oldest.room = FIRST_COUNT
            oldest.shrink()

    def leave(self, window: ReadyWindow) -> None:
        """The room of a window that is not used any more is free."""
        if window in self._grown:
            del self._grown[window]
            self._total -= window.room - FIRST_COUNT


class ReadyWindow:
    """The next ready tasks of one queue. Everything up to `_edge` is in `_next`; beyond is not.
    `_edge` None: all ready tasks of the queue are in `_next`. At most twice `room` are.

    A list in order, because nearly all tasks come at its end and all leave at its start: those
    before `_start` have left."""

    __slots__ = ("_edge", "_next", "_rooms", "_start", "_view", "prefix", "room")

    def __init__(self, view: View, rooms: Rooms, queue: str, edge: bytes | None) -> None:
        self._view = view
        self._rooms = rooms
        self.room = FIRST_COUNT
        self.prefix = keys.ready_prefix(queue)
        self._next: list[Place] = []
        self._start = 0
        self._edge = edge

    def push(self, place: bytes, task_id: bytes) -> None:
        """A task became ready; one beyond the edge will be read when its turn comes."""
        if self._edge is not None and place > self._edge:
            return
        waiting = self._next
        one = (place, task_id)
        if not waiting or one > waiting[-1]:
            waiting.append(one)
        else:
            insort(waiting, one, self._start)
        if len(waiting) > 2 * self.room:
            self.shrink()

    def pop(self) -> Place | None:
        """Takes the next task, or None when no task is ready."""
        if not self._next:
            if self._edge is None:
                return None
            self._refill(self._edge)
            if not self._next:
                return None
        found = self._next[self._start]
        self._start += 1
        if self._start == len(self._next) or self._start >= self.room:
            del self._next[: self._start]
            self._start = 0
        return found

    def upcoming(self, count: int) -> list[bytes]:
        """Ids of the tasks that `pop` gives next, as far as they are read already; at most so
        many."""
        return [task_id for _, task_id in self._next[self._start : self._start + count]]

    def shrink(self) -> None:
        """Lets go of what has left; then, if need be, of what is far away."""
        del self._next[: self._start]
        self._start = 0
        if len(self._next) > self.room:
            del self._next[self.room :]
            self._edge = self._next[-1][0]

    def _refill(self, edge: bytes) -> None:
        self._rooms.grow(self)
        found = self._view.scan(self.prefix, self.prefix + edge, self.room)
        size = len(self.prefix)
        self._next = [(key[size:], task_id) for key, task_id in found]
        self._edge = self._next[-1][0] if len(found) == self.room else None


def make_ready(state: State, task: Task) -> None:
    """Moves a task to READY and to its place: a new one at the end of its priority, or its own."""
    move(state, task, READY)
    queue = state.queues.by_name[task.queue]
    if not task.place:
        state.sequence += 1
        rank = PRIORITY_MAX - task.priority
        if queue.ageing_ms:
            rank = state.elapsed + rank * queue.ageing_ms
        task.place = keys.place(rank, state.sequence)
    place = task.place
    state.view.create(queue.window.prefix + place, task.id)
    queue.window.push(place, task.id)
    if place < queue.low:
        queue.low = place
    state.readied.add(task.queue)


def leave_ready(state: State, task: Task) -> None:
    """Removes a task's place; its entry in the window is skipped when it comes up."""
    state.lately.pop(task.id, None)
    state.view.delete(state.queues.by_name[task.queue].window.prefix + task.place)
