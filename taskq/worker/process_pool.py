"""A small pool of processes, each running one task at a time.

A process that dies fails its task with the reason and is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from taskq.worker.context import TaskContext
from taskq.worker.function import Ended, Target, WorkerError
from taskq.worker.in_process import CANCELLED
from taskq.worker.parent import KILL
from taskq.worker.pool_process import PoolProcess

_log = logging.getLogger("taskq.worker")

# Seconds between two attempts to replace a process that does not come up.
RESTART_DELAY_SECS = 1.0


class ProcessPool:
    """`size` processes that have loaded `target`.

    `cancel_grace_secs`: how long a run that is to stop may take before SIGTERM, and again before
    SIGKILL. In between it can look at `current_task().cancel_requested`.
    """

    def __init__(self, target: Target, size: int, cancel_grace_secs: float = 5.0) -> None:
        self._target = target
        self._size = size
        self._grace_secs = cancel_grace_secs
        self._idle: asyncio.Queue[PoolProcess] = asyncio.Queue()
        self._processes: set[PoolProcess] = set()
        self._stopping: dict[int, asyncio.Task[None]] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Starts one process, to see whether the function loads, then the others."""
        self._enlist(await PoolProcess.start(self._target))
        others = [PoolProcess.start(self._target) for _ in range(self._size - 1)]
        problem: BaseException | None = None
        for made in await asyncio.gather(*others, return_exceptions=True):
            if isinstance(made, BaseException):
                problem = made
            else:
                self._enlist(made)
        if problem is not None:
            await self.close()
            raise problem

    def _enlist(self, process: PoolProcess) -> None:
        self._processes.add(process)
        process.exited.add_done_callback(lambda _: self._lost(process))
        self._idle.put_nowait(process)

    def _lost(self, process: PoolProcess) -> None:
        self._processes.discard(process)
        if not self._closed:
            level = logging.DEBUG if process.signalled else logging.WARNING
            text = "Pool process %d %s; starting another."
            _log.log(level, text, process.pid, process.how_it_ended())
            chore = asyncio.ensure_future(self._replace())
            self._chores.add(chore)
            chore.add_done_callback(self._chores.discard)

    async def _replace(self) -> None:
        while not self._closed:
            try:
                made = await PoolProcess.start(self._target)
            except (WorkerError, OSError) as error:
                _log.error("A pool process does not start: %s", error)
                await asyncio.sleep(RESTART_DELAY_SECS)
                continue
            self._enlist(made)
            return

    async def run(self, context: TaskContext, payload: bytes) -> Ended:
        """Runs the task in an idle process; waits while one is being replaced."""
        process = await self._idle.get()
        while not process.alive:
            process = await self._idle.get()
        try:
            ended = await process.run(context, payload)
        except BaseException:
            process.signal(KILL)  # still busy with a run that nobody waits for
            raise
        finally:
            stopping = self._stopping.pop(context.token, None)
            if stopping is not None:
                stopping.cancel()
            if process.alive:
                self._idle.put_nowait(process)
        if ended is not None:
            return ended
        if stopping is not None:
            return CANCELLED
        reason = f"The pool process {process.how_it_ended()} while running the task."
        return Ended(False, None, reason)

    def stop(self, token: int) -> None:
        """Sets the flag of the run, terminates its process after the grace, then kills it."""
        if token in self._stopping:
            return
        for process in self._processes:
            if process.token == token:
                self._stopping[token] = asyncio.ensure_future(self._stop(process, token))

    async def _stop(self, process: PoolProcess, token: int) -> None:
        process.request_cancel(token)
        for number in (signal.SIGTERM, KILL):
            await asyncio.sleep(self._grace_secs)
            process.signal(number)

    def kill(self) -> None:
        """Kills the processes that are running a task."""
        for process in self._processes:
            if process.token:
                process.signal(KILL)

    async def close(self) -> None:
        """Ends all processes: idle ones by themselves, others by force."""
        self._closed = True
        for chore in list(self._chores):
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        ends = [process.end(0.0 if process.token else 1.0) for process in list(self._processes)]
        await asyncio.gather(*ends)

    def child_pids(self) -> list[int]:
        """The pool's processes."""
        return [process.pid for process in self._processes]
