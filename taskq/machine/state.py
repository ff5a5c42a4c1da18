"""Everything the handlers work on: the view, the clocks, and caches rebuilt from the heads alone.

Loading reads queues, workers, claims and leases, never the backlog, so that it costs the same
with ten tasks waiting and with ten million.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from taskq.machine import keys
from taskq.machine.counters import Counters
from taskq.machine.due import DueIndex
from taskq.machine.finished import Finished
from taskq.machine.lease import Lease, Leases
from taskq.machine.level import load_level
from taskq.machine.queue import Queues
from taskq.machine.record import pack, unpack
from taskq.machine.settings import load_settings
from taskq.machine.task import Task
from taskq.machine.view import View
from taskq.machine.worker import Workers

# The due indices whose `low` is stored, in the order of the record; append only.
_INDEXED = (
    keys.DUE_ELAPSED,
    keys.DUE_WALL,
    keys.TTL,
    keys.DEAD,
    keys.FORGET_DUE,
)

_NO_CLOCKS = [0, 0, 0, 0, [], keys.FIRST_PLACE, 0]

# At most about 8 MiB. When it is full it is emptied: what has not been claimed by then waits in a
# backlog, and the next ones may be claimed soon.
LATELY_COUNT_MAX = 4_096


class LeaseLost(NamedTuple):
    """A lease ended without an outcome: something for the log."""

    task_id: bytes
    queue: str
    worker_id: bytes
    why: str
    expiries: int


class CancelWanted(NamedTuple):
    """A running task should stop: to be pushed to its worker."""

    task_id: bytes
    token: int
    worker_id: bytes


class State:
    """See the module. `elapsed` and `wall` are the stamps of the entry being applied; `lately` are
    ready tasks that need not be read to be claimed."""

    __slots__ = (
        *("view", "elapsed", "wall", "sequence", "token", "level", "settings", "counters"),
        *("queues", "leases", "workers", "indices", "finished", "lately"),
        *("readied", "ended", "cancels", "lost"),
    )

    def __init__(self, view: View) -> None:
        self.view = view
        record = view.get(keys.CLOCKS)
        fields: list[Any] = _NO_CLOCKS if record is None else unpack(record)
        self.elapsed: int = fields[0]
        self.wall: int = fields[1]
        self.sequence: int = fields[2]
        self.token: int = fields[3]
        self.finished = Finished(view, fields[5], fields[6])
        lows: list[int] = fields[4] + [0] * (len(_INDEXED) - len(fields[4]))
        self.indices = {f: DueIndex(view, f, low) for f, low in zip(_INDEXED, lows, strict=True)}
        self.level = load_level(view.get(keys.LEVEL))
        self.settings = load_settings(view.get(keys.SETTINGS))
        self.counters = Counters(view.get(keys.COUNTERS))
        self.queues = Queues(view)
        self.workers = Workers(view)
        self.leases = Leases(view, self.workers)
        self.lately: dict[bytes, Task] = {}
        self.begin(self.elapsed, self.wall)

    def runs(self, level: int) -> bool:
        """The gate of every change of what an entry does (A14): whether the cluster is at this
        feature level or above it. All nodes answer alike at the same entry."""
        return self.level >= level

    def begin(self, elapsed: int, wall: int) -> None:
        """An entry with these stamps is about to be applied; neither clock ever goes back."""
        assert elapsed >= self.elapsed, "cluster time went back"
        assert wall >= self.wall, "the log's wall time went back"
        self.elapsed, self.wall = elapsed, wall
        self.readied: set[str] = set()
        self.ended: list[bytes] = []
        self.cancels: list[CancelWanted] = []
        self.lost: list[LeaseLost] = []

    def save(self) -> None:
        """Writes what changes with every entry: clocks, counters, and all that is changed often."""
        lows = [index.low for index in self.indices.values()]
        self.finished.save(self.wall)
        ended = (self.finished.low, self.finished.count)
        clocks = pack(self.elapsed, self.wall, self.sequence, self.token, lows, *ended)
        self.view.put(keys.CLOCKS, clocks)
        self.counters.save(self.view)
        self.queues.save()
        self.workers.save()
        self.leases.save()

    def keep_lately(self, task: Task) -> None:
        """A task became ready: it may be claimed soon."""
        if len(self.lately) >= LATELY_COUNT_MAX:
            self.lately.clear()
        self.lately[task.id] = task

    def lost_lease(self, task: Task, lease: Lease, why: str) -> None:
        """Notes a lease that ended without an outcome."""
        self.lost.append(LeaseLost(task.id, task.queue, lease.worker_id, why, task.expiries))
