"""Tasks that ended, but for dead ones, in the order in which they did: for retention.

One record for all that ended in an entry: f <ended wall 8> <number 8> -> their ids, where `number`
is that of the first of them among all that ever ended, from 1. Records come at the end and leave at
the front, from which single ids are taken, too. `low` is the place of the last record that has
left: it is part of the state (`state.py` stores it), so that a restart does not walk deleted keys.
"""

from __future__ import annotations

from collections import deque

from taskq.machine import keys
from taskq.machine.due import NEVER
from taskq.machine.view import View

# Records read ahead; with a thousand ids each they have 16 KiB.
REFILL_COUNT = 64
_ID_SIZE = 16


class Finished:
    """See the module. `_next` are the first records: (place, ids). `_edge`: the place up to which
    they were read; None: they are all there is."""

    __slots__ = ("_cut", "_edge", "_ended", "_next", "_view", "count", "low")

    def __init__(self, view: View, low: bytes, count: int) -> None:
        self._view = view
        self.low = low
        self.count = count  # tasks that ever ended
        self._ended: list[bytes] = []  # in this entry
        self._next: deque[tuple[bytes, bytes]] = deque()
        self._cut = False  # the first record has more ids in the view
        self._edge: bytes | None = low

    def add(self, task_id: bytes) -> None:
        """A task ended."""
        self._ended.append(task_id)

    def next(self) -> int:
        """When the task that ended first did, in wall time, or NEVER. Between entries."""
        if not self._next:
            self._refill()
        return keys.from_place(self._next[0][0])[0] if self._next else NEVER

    def take(self, wall: int, until: int, limit: int) -> list[bytes]:
        """At most `limit` ids of tasks that ended not later than `until`, removed from here.
        `wall`: of the entry that is being applied."""
        self._file(wall)
        taken: list[bytes] = []
        while len(taken) < limit and self.next() <= until:
            place, ids = self._next[0]
            size = (limit - len(taken)) * _ID_SIZE
            taken += [ids[at : at + _ID_SIZE] for at in range(0, len(ids[:size]), _ID_SIZE)]
            self._cut = size < len(ids)
            if self._cut:
                self._next[0] = place, ids[size:]
            else:
                self._next.popleft()
                self._view.delete(keys.FINISHED + place)
                self.low = place
        return taken

    def save(self, wall: int) -> None:
        """Writes what this entry has changed."""
        self._file(wall)
        if self._cut:
            place, ids = self._next[0]
            self._view.put(keys.FINISHED + place, ids)
            self._cut = False

    def _file(self, wall: int) -> None:
        """Makes the record of what has ended since the last."""
        if not self._ended:
            return
        record = keys.place(wall, self.count + 1), b"".join(self._ended)
        self._view.create(keys.FINISHED + record[0], record[1])
        self.count += len(self._ended)
        self._ended = []
        if self._edge is None and len(self._next) < REFILL_COUNT:
            self._next.append(record)
        elif self._edge is None:
            self._edge = self._next[-1][0]

    def _refill(self) -> None:
        if self._edge is None:
            return
        after = keys.FINISHED + self._edge
        found = self._view.scan(keys.FINISHED, after, REFILL_COUNT)
        self._next.extend((key[1:], ids) for key, ids in found)
        self._edge = found[-1][0][1:] if len(found) == REFILL_COUNT else None
