"""A node whose disk answers when the test says so: real Raft, journal, applier and driver on an
event loop with a clock of its own; nothing sleeps and no thread runs.

    rig.propose(...)   rig.log.finish()   rig.state.finish()   rig.tick(0.25)   rig.crash()
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from cluster.replication.applier import Applier
from cluster.replication.build import OWN_BUILD
from cluster.replication.checkpoint import Checkpoints
from cluster.replication.clock import ClusterClock
from cluster.replication.consensus import Consensus
from cluster.replication.driver import Driver
from cluster.replication.feature_level import unfit
from cluster.replication.journal import LogJournal
from cluster.replication.raft import Raft
from cluster.replication.roster import Roster
from cluster.replication.voters import founders
from cluster.storage.errors import StorageFailed
from taskq.commands import SubmitTask
from taskq.errors import Refusal
from taskq.machine.entry import decode_entry
from taskq.machine.machine import Machine
from taskq.machine.view import MemoryView
from tests.unit.replication.disk import Disk, MemoryLog, MemoryState

WALL_START_SECS = 1_000_000.0


def spelled(command: Any) -> str:
    """What tells one command from another."""
    return repr(command._replace(payload=b"") if type(command) is SubmitTask else command)


class Loop(asyncio.SelectorEventLoop):
    """Its time stands still until the test moves it."""

    now = 100.0

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        """Runs everything that is due now, and what follows from it."""
        for _ in range(20):
            self.call_soon(self.stop)
            self.run_forever()


class Held(Executor):
    """Runs nothing until told to."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.waiting: list[tuple[Callable[[], Any], Future[Any]]] = []
        self.handle: MemoryLog | MemoryState | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((lambda: fn(*args, **kwargs), future))
        return future

    def finish(self) -> bool:
        """Carries out the oldest write; whether there was one."""
        if not self.waiting:
            return False
        task, future = self.waiting.pop(0)
        try:
            future.set_result(task())
        except Exception as error:  # noqa: BLE001  # an executor hands on every error
            future.set_exception(error)
        self._loop.settle()
        return True

    def fail(self, *, written: bool) -> bool:
        """The oldest write fails, before or after its bytes reached the disk."""
        if not self.waiting:
            return False
        task, future = self.waiting.pop(0)
        if written:
            task()
        assert self.handle is not None
        self.handle.fail()
        future.set_exception(StorageFailed("the disk said no"))
        self._loop.settle()
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        assert not self.waiting, "ended while a write was under way"


class Rig:
    """One disk and the node that runs on it now. `answers`: tag -> what was delivered, over all
    starts; `tags`: what a command says -> its tag."""

    def __init__(
        self,
        disk: Disk | None = None,
        *,
        sync_interval_secs: float = 0.0,
        checkpoint_size: int = 1 << 40,
        loop: Loop | None = None,
        node_id: str = "n1",
        others: tuple[str, ...] = (),
        transmit: Callable[[str, bytes], bool] = lambda peer_id, message: False,
    ) -> None:
        self.loop = loop or Loop()
        self.disk = disk or Disk()
        self.node_id = node_id
        self.others = others
        self._transmit = transmit
        self._seed = int(node_id[1:])
        self.answers: dict[Any, Any] = {}
        self.order: list[Any] = []
        self.tags: dict[str, Any] = {}
        self.failures: list[BaseException] = []
        self.leaderships: list[bool] = []
        self.leaders: list[str] = []
        self.lagging: list[str] = []  # who needs a snapshot
        # What the others run, as they said on their present connection.
        self.builds = dict.fromkeys(others, OWN_BUILD)
        self.wall_secs = WALL_START_SECS
        self._sync_interval_secs = sync_interval_secs
        self._checkpoint_size = checkpoint_size
        self.open()

    # --- life -------------------------------------------------------------------------------------

    def open(self) -> None:
        """A new process on the same disk."""
        self.log, self.state = Held(self.loop), Held(self.loop)
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        self.log.handle, self.state.handle = MemoryLog(self.disk), MemoryState(self.disk)
        store: Any = self.log.handle
        state: Any = self.state.handle
        self.applier = Applier(state)
        self.journal = LogJournal(store)
        self.raft = Raft(
            *(self.node_id, self.journal, state.index, state.terms),
            *(self.applier.apply, self.applier.applied),
            roster=Roster(
                self.node_id, self.applier.voters() or founders([self.node_id, *self.others])
            ),
            on_voters=self.applier.set_voters,
            in_group=bool(self.others),
        )
        executors = {"log": self.log, "state": self.state}
        machine = self.applier.machine
        clock = ClusterClock(self.loop.time, lambda: self.wall_secs)
        self.consensus = Consensus(
            self.raft,
            clock,
            self.applier.digests,
            stamps=lambda: (machine.elapsed_ms, machine.wall_ms),
            transmit=self._transmit,
            now=self.loop.time,
            rng=random.Random(self._seed),
            on_lagging=self.lagging.append,
            unfit=lambda peer_id: unfit(peer_id, machine.level, self.builds),
        )
        self.driver = Driver(
            self.consensus,
            store,
            self.applier,
            clock,
            sync_interval_secs=self._sync_interval_secs,
            checkpoints=Checkpoints(1e9, self._checkpoint_size, self.loop.time()),
            on_failure=self.failures.append,
            on_leadership=self.leaderships.append,
            on_leader=self.leaders.append,
            executor=executors.__getitem__,
        )

    def start(self) -> None:
        """Stands for election; nothing is flushed yet."""
        self.driver.start()
        self.loop.settle()

    def lead(self) -> None:
        """Starts, and lets the disk take what it wants to write first."""
        self.start()
        while not self.raft.is_leader:
            assert self.log.finish(), "the node does not lead and wants nothing from the disk"
            self.loop.settle()

    def crash(self) -> None:
        """The process is gone, and with it every write that did not return."""
        if self.driver._timer is not None:
            self.driver._timer.cancel()
        self.driver.stopped = True
        self.loop.settle()
        self.open()

    def stop(self) -> None:
        """A clean stop; the disk does all that it is asked."""
        task = self.loop.create_task(self.driver.stop())
        for _ in range(1000):
            self.tick(0.001)
            self.log.finish()
            self.state.finish()
            if task.done():
                task.result()
                return
        raise AssertionError("the stop never ends")

    def close(self) -> None:
        self.loop.close()

    # --- time, proposals --------------------------------------------------------------------------

    def tick(self, secs: float) -> None:
        """Time passes."""
        self.loop.now += secs
        self.wall_secs += secs
        self.loop.settle()

    def propose(self, command: Any, tag: Any, *, settle: bool = True) -> None:
        self.tags[spelled(command)] = tag
        self.driver.propose(command, self, tag)
        if settle:
            self.loop.settle()

    def submit(self, tag: int, *, size: int = 0, settle: bool = True) -> None:
        """Proposes a task whose id is the tag."""
        command = SubmitTask(tag.to_bytes(16, "big"), "q", "", bytes(size))
        self.propose(command, tag, settle=settle)

    def deliver(self, tag: Any, value: Any) -> None:
        assert tag not in self.answers, f"{tag} was answered twice"
        self.answers[tag] = value
        self.order.append(tag)

    def settled(self, limit: int = 100) -> None:
        """The disk does all that it is asked."""
        for _ in range(limit):
            self.loop.settle()
            if not (self.log.finish() or self.state.finish()):
                return
        raise AssertionError("the disk is never done")

    # --- the account ------------------------------------------------------------------------------

    def accepted(self) -> set[Any]:
        """Tags whose answer was no refusal."""
        return {tag for tag, value in self.answers.items() if not isinstance(value, Refusal)}

    def stored(self) -> list[Any]:
        """Tags of the commands in the log that was ever on disk, in order."""
        found = []
        for index in sorted(self.disk.history):
            command = self.disk.history[index][1]
            if command[:1] == b"\0":
                found += [self.tags.get(spelled(one)) for one in decode_entry(command[1:])[2]]
        return found

    def replayed(self, last: int) -> MemoryView:
        """The state at an index, built from the first entry on."""
        view = MemoryView()
        machine = Machine(view)
        for index in range(2, last + 1):
            command = self.disk.history[index][1]
            if command[:1] == b"\0":
                machine.apply(command[1:])
        return view

    def check(self) -> None:
        """What must hold at every moment, whatever the disk did."""
        disk = self.disk
        assert disk.state_index <= disk.head.last, "the state is ahead of the log"
        assert disk.state.values == self.replayed(disk.state_index).values, "P6"
        if disk.state_index > 1:
            terms = tuple(disk.history[disk.state_index - back][0] for back in (1, 0))
            assert disk.state_terms == terms, "A12: the terms of its last two entries"
        if not self._sync_interval_secs:
            assert self.raft.applied_index <= max(disk.head.last, 1), "applied unflushed"
            assert self.raft.commit_index <= max(disk.head.last, 1), "committed unflushed"
            missing = self.accepted() - set(self.stored())
            assert not missing, f"answered, but not on disk: {missing}"
        self.applier.machine.check()
