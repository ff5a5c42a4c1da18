"""A small pool of processes, each running one task at a time.

A process that dies fails the task that it ran with the reason and is replaced. Tasks wait here, in
one line, until a process is free; short ones are sent ahead, so that a process need not wait for
the parent between two of them, and called back if the one before turns out long.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import deque

from taskq.errors import ErrorCode, RequestRefused, TaskqError
from taskq.worker import pipe
from taskq.worker.executor import CANCELLED, CANCELLED_IN_LINE, Run, Runs
from taskq.worker.function import Ended
from taskq.worker.pace import Pace
from taskq.worker.parent import KILL
from taskq.worker.pool_process import PoolProcess
from taskq.worker.target import Target, WorkerError

_log = logging.getLogger("taskq.worker")

# Seconds between two attempts to replace a process that does not come up.
RESTART_DELAY_SECS = 1.0
# What is sent ahead to a process would take it about so long, and is so many tasks at most.
AHEAD_SECS = 0.005
AHEAD_COUNT_MAX = 64
# What was sent ahead is called back when nothing has ended for so long.
RECALL_SECS = 0.05


class ProcessPool:
    """`size` processes that have loaded `target`.

    `cancel_grace_secs`: how long a run that is to stop may take before SIGTERM, and again before
    SIGKILL. In between it can look at `current_task().is_cancelled`.
    """

    def __init__(
        self, target: Target, size: int, prefetch: int | None, cancel_grace_secs: float
    ) -> None:
        self._target = target
        self._size = size
        self._pace = Pace(size, prefetch)
        self._grace_secs = cancel_grace_secs
        self._line: deque[Run] = deque()
        self._processes: list[PoolProcess] = []
        self._stopping: dict[int, asyncio.Task[None]] = {}  # by token of the run
        self._unwanted: set[int] = set()  # to be stopped, sent ahead to a process
        self._chores: set[asyncio.Task[None]] = set()
        self._sending = False
        self._recall: asyncio.TimerHandle | None = None
        self._giving_back = False
        self._closed = False
        self._held = 0

    async def start(self, runs: Runs) -> None:
        """Starts one process, to see whether the functions load, then the others."""
        self._runs = runs
        self._loop = asyncio.get_running_loop()
        self._progress_at = self._loop.time()
        await self._start_one()
        others = [self._start_one() for _ in range(self._size - 1)]
        found = await asyncio.gather(*others, return_exceptions=True)
        problem = next((one for one in found if isinstance(one, BaseException)), None)
        if problem is not None:
            await self.close()
            raise problem

    async def _start_one(self) -> None:
        process = PoolProcess(self, self._target)
        await process.start()
        if not process.alive:
            raise WorkerError(f"A pool process {process.how_it_ended()} as soon as it was ready.")
        self._processes.append(process)
        self._send_soon()

    # --- what the worker wants ------------------------------------------------------------------

    def run(self, run: Run) -> None:
        """See `Executor`."""
        self._held += 1
        self._line.append(run)
        self._send_soon()

    def claimable(self) -> int:
        """See `Executor`. Nothing is claimed for a process that is being replaced."""
        missing = self._size - len(self._processes)
        claimable = self._pace.claimable(self._held, self._loop.time() - self._progress_at)
        return max(0, claimable - missing) if self._processes else 0

    def waiting_since(self) -> float | None:
        """See `Executor`."""
        return None if self._pace.patient or not self._line else self._line[0].arrived

    def give_back(self) -> None:
        """See `Executor`: what waits here at once, what was sent ahead when it comes back."""
        line, self._line = self._line, deque()
        for run in line:
            self._held -= 1
            self._runs.run_given_back(run.task.token)
        self._giving_back = False
        for process in self._processes:
            if len(process.line) > 1:
                self._giving_back = True
                process.recall()

    def stop(self, token: int) -> None:
        """Sets the flag of the run, terminates its process after the grace, then kills it."""
        if token in self._stopping:
            return
        for run in self._line:
            if run.task.token == token:
                self._line.remove(run)
                self._end(token, CANCELLED_IN_LINE)
                return
        for process in self._processes:
            tokens = [run.task.token for run in process.line]
            if token in tokens:
                if len(tokens) > 1:
                    process.recall()  # it must not start another one that the signal would hit
                if tokens[0] == token:
                    self._stopping[token] = asyncio.ensure_future(self._stop(process, token))
                else:
                    self._unwanted.add(token)

    async def _stop(self, process: PoolProcess, token: int) -> None:
        process.send([pipe.CANCEL, token])
        process.flush()
        for number in (signal.SIGTERM, KILL):
            await asyncio.sleep(self._grace_secs)
            process.signal(number)

    def kill(self) -> None:
        """Kills the processes that are running a task."""
        for process in self._processes:
            if process.line:
                process.signal(KILL)

    async def close(self) -> None:
        """Ends all processes: idle ones by themselves, others by force."""
        self._closed = True
        if self._recall is not None:
            self._recall.cancel()
        for chore in list(self._chores):
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        processes = list(self._processes)
        await asyncio.gather(*(one.end(0.0 if one.line else 1.0) for one in processes))

    def child_pids(self) -> list[int]:
        """The pool's processes."""
        return [process.pid for process in self._processes]

    # --- sending --------------------------------------------------------------------------------

    def _send_soon(self) -> None:
        """What comes and ends in one round of the loop is one write to each process."""
        if not self._sending:
            self._sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sending = False
        if not self._line:
            return
        now = self._loop.time()
        touched: set[PoolProcess] = set()
        while self._line:
            secs = self._pace.expect(self._line[0].task.name)
            process = self._free(secs, now)
            if process is None:
                break
            process.run(self._line.popleft(), secs, now)
            touched.add(process)
        for process in touched:
            process.flush()
            if len(process.line) > 1 and self._recall is None:
                self._recall = self._loop.call_later(RECALL_SECS, self._recall_late)
        if touched:
            self._progress_at = now

    def _free(self, secs: float, now: float) -> PoolProcess | None:
        """The process that a task which will take `secs` should go to; None: it waits."""
        best: PoolProcess | None = None
        for process in self._processes:
            if not process.line:
                return process
            if (
                process.expected_secs + secs <= AHEAD_SECS
                and len(process.line) < AHEAD_COUNT_MAX
                and now - process.since < RECALL_SECS
                and not process.recalled
                and process.line[0].task.token not in self._stopping
                and (best is None or process.expected_secs < best.expected_secs)
            ):
                best = process
        return best

    def _recall_late(self) -> None:
        """Calls back what waits behind a run that turned out long."""
        self._recall = None
        now = self._loop.time()
        for process in self._processes:
            if len(process.line) > 1:
                if now - process.since >= RECALL_SECS:
                    process.recall()
                elif self._recall is None:
                    self._recall = self._loop.call_later(RECALL_SECS, self._recall_late)

    # --- what the processes say -----------------------------------------------------------------

    def ended(self, process: PoolProcess, run: Run, secs: float, ended: Ended) -> None:
        """A run has its outcome; the next in its line has begun."""
        token = run.task.token
        self._progress_at = process.since
        self._pace.ended(run.task.name, secs)
        self._stopped(token)
        self._unwanted.discard(token)
        if process.line and (first := process.line[0].task.token) in self._unwanted:
            self._unwanted.discard(first)
            self.stop(first)
        self._end(token, ended)
        self._send_soon()

    def _end(self, token: int, ended: Ended) -> None:
        self._held -= 1
        self._runs.run_ended(token, ended)

    def _stopped(self, token: int) -> bool:
        """No signal is sent for this run any more; whether it was to stop."""
        stopping = self._stopping.pop(token, None)
        if stopping is not None:
            stopping.cancel()
        return stopping is not None

    def came_back(self, process: PoolProcess, tokens: list[int]) -> None:
        """It has not started these, and will not."""
        returned = set(tokens)
        back = [run for run in process.line if run.task.token in returned]
        kept = [run for run in process.line if run.task.token not in returned]
        process.line = deque(kept)
        process.expected_secs = sum(self._pace.expect(run.task.name) for run in kept)
        self._take_back(back)
        self._giving_back = self._giving_back and any(one.recalled for one in self._processes)

    def _take_back(self, back: list[Run]) -> None:
        """Puts runs into the line again, first of all; or ends them where they are not wanted."""
        for run in reversed(back):
            token = run.task.token
            if token in self._unwanted:
                self._unwanted.discard(token)
                self._end(token, CANCELLED_IN_LINE)
            elif self._giving_back:
                self._held -= 1
                self._runs.run_given_back(token)
            else:
                self._line.appendleft(run)
        self._send_soon()

    def extension_wanted(self, process: PoolProcess, token: int, lease_ms: int | None) -> None:
        """A function wants a longer lease."""
        chore = asyncio.ensure_future(self._extend(process, token, lease_ms))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _extend(self, process: PoolProcess, token: int, lease_ms: int | None) -> None:
        answer: list[object] = [None, ErrorCode.UNAVAILABLE.value, ""]
        try:
            answer = [await self._runs.extend(token, lease_ms), "", ""]
        except RequestRefused as error:
            answer[1:] = [str(error.code), error.message]
        except TaskqError as error:
            answer[2] = str(error)
        process.send([pipe.EXTENDED, token, *answer])
        process.flush()

    def gone(self, process: PoolProcess) -> None:
        """It ended: so does the run that it was at; what waited behind goes to others."""
        if process not in self._processes:
            return  # whoever starts it sees that it has ended
        self._processes.remove(process)
        line, process.line = list(process.line), deque()
        if line:
            reason = f"The pool process {process.how_it_ended()} while running the task."
            token = line[0].task.token
            self._unwanted.discard(token)
            stopped = self._stopped(token)
            self._progress_at = self._loop.time()
            self._end(token, CANCELLED if stopped else Ended(False, None, reason))
            self._take_back(line[1:])
        if self._closed:
            return
        level = logging.DEBUG if process.signalled else logging.WARNING
        _log.log(
            level, "Pool process %d %s; starting another.", process.pid, process.how_it_ended()
        )
        chore = asyncio.ensure_future(self._replace())
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _replace(self) -> None:
        while not self._closed:
            try:
                await self._start_one()
            except (WorkerError, OSError) as error:
                _log.error("A pool process does not start: %s", error)
                await asyncio.sleep(RESTART_DELAY_SECS)
                continue
            self._runs.room_made()
            return
