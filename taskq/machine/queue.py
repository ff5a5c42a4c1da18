"""Queues: settings, counts, and the place from which ready tasks are read.

At most 10,000, all in memory; the record of a queue that changed is written once per entry.
`low` is a place below which no task is ready: after a restart in mid-drain the deleted keys in
front of it are not walked. It depends only on what was applied: a claim takes the smallest place,
so nothing is left below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import QUEUE_COUNT_MAX
from taskq.machine import keys
from taskq.machine.ready import ReadyWindow, Rooms
from taskq.machine.record import pack, unpack
from taskq.machine.task import DEAD, LEASED, MOVES, READY, RETRYING, SCHEDULED, TIERS
from taskq.machine.view import View
from taskq.results import Done

if TYPE_CHECKING:
    from taskq.commands import CreateQueue, DeleteQueue, PauseQueue, ResumeQueue
    from taskq.machine.state import State

# State -> position in `Queue.counts`; READY is counted by tier in the first three. States that are
# not counted share the last position, which is no count of anything and is not stored.
_POSITION = [7] * len(MOVES)
_POSITION[SCHEDULED], _POSITION[RETRYING], _POSITION[LEASED], _POSITION[DEAD] = 3, 4, 5, 6

# What a queue's tasks are called that keep it from being deleted.
_COUNTED = ("ready", "scheduled", "retrying", "leased", "dead")


class Queue:
    """One queue. `counts`: ready high, normal, low, scheduled, retrying, leased, dead."""

    __slots__ = ("_changed", "ageing_ms", "counts", "lease_ms", "low", "name", "paused", "window")

    def __init__(
        self,
        view: View,
        rooms: Rooms,
        name: str,
        record: bytes | None,
        changed: dict[str, Queue],
    ) -> None:
        self.name = name
        self.ageing_ms = 0
        self.lease_ms = 0  # 0: the broker's
        self.paused = False
        self.counts = [0] * 8
        self.low = keys.FIRST_PLACE
        edge = None
        if record is not None:
            self.ageing_ms, self.lease_ms, self.paused, counts, self.low = unpack(record)
            self.counts = [*counts, 0]
            edge = keys.before(self.low)  # `low` itself is read
        self.window = ReadyWindow(view, rooms, name, edge)
        self._changed = changed
        if record is None:
            self.touch()

    def touch(self) -> None:
        """The record has to be written at the end of this entry."""
        self._changed[self.name] = self

    def encode(self) -> bytes:
        """The queue's record."""
        return pack(self.ageing_ms, self.lease_ms, self.paused, self.counts[:7], self.low)

    @property
    def ready(self) -> int:
        """Ready tasks of all tiers."""
        counts = self.counts
        return counts[0] + counts[1] + counts[2]

    def moved(self, priority: int, origin: int, to: int) -> None:
        """Counts a task out of a state and into another."""
        counts = self.counts
        counts[TIERS[priority] if origin == READY else _POSITION[origin]] -= 1
        counts[TIERS[priority] if to == READY else _POSITION[to]] += 1
        self._changed[self.name] = self

    def took(self, place: bytes) -> None:
        """The task at this place, the smallest of all, was claimed or looked at. Recorded even if
        nothing else changes: `low` is part of the state, the same on a node that restarted."""
        self.low = place
        self._changed[self.name] = self


class Queues:
    """All queues by name."""

    __slots__ = ("_changed", "_rooms", "_view", "by_name")

    def __init__(self, view: View) -> None:
        self._view = view
        self._rooms = Rooms()
        self._changed: dict[str, Queue] = {}
        self.by_name: dict[str, Queue] = {}
        for key, record in view.scan(keys.QUEUE, None, QUEUE_COUNT_MAX):
            name = key[1:].decode()
            self.by_name[name] = Queue(view, self._rooms, name, record, self._changed)

    def __len__(self) -> int:
        return len(self.by_name)

    def find(self, name: str) -> Queue | None:
        """The queue, or None."""
        return self.by_name.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.by_name)

    def ensure(self, name: str) -> Queue | Refusal:
        """The queue, made if there is none. Refused: TOO_MANY_QUEUES."""
        queue = self.by_name.get(name)
        if queue is None:
            if len(self.by_name) >= QUEUE_COUNT_MAX:
                text = f"there are {QUEUE_COUNT_MAX} queues; no more can be made"
                return refuse(ErrorCode.TOO_MANY_QUEUES, text)
            queue = self.by_name[name] = Queue(self._view, self._rooms, name, None, self._changed)
        return queue

    def remove(self, queue: Queue) -> None:
        """An empty queue leaves."""
        assert not any(queue.counts[:7]), "a queue that has tasks"
        del self.by_name[queue.name]
        self._changed.pop(queue.name, None)
        self._rooms.leave(queue.window)
        self._view.delete(keys.QUEUE + queue.name.encode())

    def save(self) -> None:
        """Writes the records of queues that changed."""
        for name, queue in self._changed.items():
            self._view.put(keys.QUEUE + name.encode(), queue.encode())
        self._changed.clear()


def create_queue(state: State, command: CreateQueue) -> Done | Refusal:
    """Makes a queue with its settings; the same again is fine."""
    lease_ms = command.lease_ms or 0
    queue = state.queues.find(command.queue)
    if queue is None:
        made = state.queues.ensure(command.queue)
        if isinstance(made, Refusal):
            return made
        made.ageing_ms, made.lease_ms = command.ageing_ms, lease_ms
        return Done()
    if (queue.ageing_ms, queue.lease_ms) != (command.ageing_ms, lease_ms):
        text = (
            f"queue {command.queue} exists with ageing_ms={queue.ageing_ms} and "
            f"lease_ms={queue.lease_ms or None}, which are fixed when a queue is made"
        )
        return refuse(ErrorCode.ALREADY_EXISTS, text)
    return Done()


def delete_queue(state: State, command: DeleteQueue) -> Done | Refusal:
    """Removes a queue without waiting, leased and dead tasks; those that have ended need none."""
    queue = state.queues.find(command.queue)
    if queue is None:
        return refuse(ErrorCode.NOT_FOUND, f"there is no queue {command.queue}")
    counted = (queue.ready, *queue.counts[3:7])
    left = [f"{count} {what}" for count, what in zip(counted, _COUNTED, strict=True) if count]
    if left:
        text = f"queue {command.queue} is not empty: {', '.join(left)}"
        return refuse(ErrorCode.WRONG_STATE, text)
    state.queues.remove(queue)
    return Done()


def pause_queue(state: State, command: PauseQueue) -> Done | Refusal:
    """Claims pass the queue over."""
    return _set_paused(state, command.queue, paused=True)


def resume_queue(state: State, command: ResumeQueue) -> Done | Refusal:
    """Claims see the queue again."""
    done = _set_paused(state, command.queue, paused=False)
    if isinstance(done, Done):
        state.readied.add(command.queue)
    return done


def _set_paused(state: State, name: str, *, paused: bool) -> Done | Refusal:
    queue = state.queues.find(name)
    if queue is None:
        return refuse(ErrorCode.NOT_FOUND, f"there is no queue {name}")
    queue.paused = paused
    queue.touch()
    return Done()
