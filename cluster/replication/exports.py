"""The state on disk, opened to be read for a backup while the node goes on.

Reads run one after the other in an executor of their own, with a rest after each, as a snapshot's
do: the loop and the disk's threads share the interpreter with them. What is open ends with the core
that it was read from: a disk that failed, a state that was received from the leader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from cluster.replication.core import Core
from cluster.replication.snapshots.sender import REST
from cluster.replication.snapshots.window import CHUNK_SIZE
from cluster.replication.surroundings import Surroundings
from cluster.storage.errors import DataDamaged, StorageError
from cluster.storage.state_export import StateExport
from taskq.errors import ErrorCode, Refusal, refuse

# How often it is looked whether the state on disk has come far enough. It is written about once a
# second. Seconds.
LOOK_SECS = 0.05
RETRY_AFTER_MS = 1_000
# Every group has founded itself by then: before, there is nothing to keep.
INDEX_MIN = 2


class Export:
    """A state that is open to be read: as it is after entry `index`. `size`: bytes, about."""

    def __init__(self, state: StateExport, size: int) -> None:
        self.index, self.terms, self.digest = state.index, state.terms, state.digest
        self.size = size
        self.state = state
        self.free_at = 0.0  # loop time from which on it may be read again


class Exports:
    """See the module. Made and used on one loop. `core()`: the one that is open, or None;
    `on_damage(error)`: what is on disk is not what was written."""

    def __init__(
        self,
        core: Callable[[], Core | None],
        surroundings: Surroundings,
        on_damage: Callable[[BaseException], None],
    ) -> None:
        self._core = core
        self._surroundings = surroundings
        self._executor: Executor | None = None
        self._on_damage = on_damage
        self._loop = asyncio.get_running_loop()
        self._calls: set[asyncio.Future[Any]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._stopped = False

    def begin(
        self, least_index: int, deadline: float, done: Callable[[Export | Refusal], None]
    ) -> None:
        """Opens the state as soon as it is on disk up to entry `least_index`, or says until
        `deadline` (loop time) why not."""
        core = self._core()
        if self._stopped or core is None or core.driver.stopped:
            done(_unavailable("the state of this node cannot be read now"))
            return
        index = core.state.index
        if index >= max(least_index, INDEX_MIN):
            size = core.state.size()
            self._run(core.state.export, lambda state: Export(state, size), done)
        elif self._loop.time() >= deadline:
            text = f"the disk of this node has entry {index}, and {least_index} was asked for"
            done(_unavailable(text))
        else:
            self._later(LOOK_SECS, partial(self.begin, least_index, deadline, done))

    def read(self, export: Export, done: Callable[[bytes | Refusal], None]) -> None:
        """The next chunk, empty at the end, after the rest that the last one is worth."""
        rest = export.free_at - self._loop.time()
        if rest > 0:
            self._later(rest, partial(self.read, export, done))
            return
        thread_secs = self._surroundings.thread_secs

        def work() -> tuple[bytes, float]:
            began = thread_secs()
            return export.state.read(CHUNK_SIZE), thread_secs() - began

        def rested(outcome: tuple[bytes, float]) -> bytes:
            data, secs = outcome
            export.free_at = self._loop.time() + REST * secs
            return data

        self._run(work, rested, done)

    def end(self, export: Export) -> None:
        """Lets go of the state, after a read that is under way."""
        self._run(export.state.close, lambda _: None, lambda _: None)

    async def stop(self) -> None:
        """Nothing reads the state any more."""
        self._stopped = True
        for timer in self._timers:
            timer.cancel()
        while self._calls:
            await asyncio.wait(self._calls)
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    # --- the executor -----------------------------------------------------------------------------

    def _later(self, secs: float, what: Callable[[], None]) -> None:
        def ring() -> None:
            self._timers.discard(timer)
            what()

        timer = self._loop.call_later(secs, ring)
        self._timers.add(timer)

    def _run(
        self, work: Callable[[], Any], convert: Callable[[Any], Any], done: Callable[[Any], None]
    ) -> None:
        if self._stopped:
            done(_unavailable("the node is stopping"))
            return
        if self._executor is None:
            self._executor = self._surroundings.executor("backup")
        call = self._loop.run_in_executor(self._executor, work)
        self._calls.add(call)
        call.add_done_callback(partial(self._called, convert, done))

    def _called(
        self,
        convert: Callable[[Any], Any],
        done: Callable[[Any], None],
        call: asyncio.Future[Any],
    ) -> None:
        self._calls.discard(call)
        if call.cancelled():
            return
        error = call.exception()
        if error is None:
            done(convert(call.result()))
            return
        done(_unavailable(f"the state cannot be read any more: {error}"))
        if isinstance(error, DataDamaged) or not isinstance(error, StorageError):
            self._on_damage(error)


def _unavailable(text: str) -> Refusal:
    return refuse(ErrorCode.UNAVAILABLE, text, RETRY_AFTER_MS)
