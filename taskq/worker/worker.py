"""A worker: claims tasks, runs a Python function for each, hands in what became of them.

    claims ---> executor: in line, running ---> outcomes ---> cluster
                    ^                                            |
                heartbeats: invalid, cancel <--------------------+

Everything here lives in one asyncio loop that never runs a function itself, so that a task that
holds the interpreter lock of its pool process keeps its lease. `held.py` decides what is due,
`claims.py` what to claim, `link.py` talks to the cluster, an executor runs the functions.

Options, in seconds: `heartbeat_interval` (15), `graceful_shutdown_timeout` (60; how long a drain
waits for running tasks before it gives them back), `max_inactivity` (60; without any answer from
the cluster for so long the worker stops its tasks and raises WorkerLost), `cancel_grace` (5;
before a process that is to stop is terminated), `lease` (None: the queue's own).

`prefetch`: tasks claimed beyond those that can run now. It hides the way to the broker from short
tasks; but such a task waits here while another worker may be free, and its time limit runs. None
(the default) claims ahead only while runs are short, and gives back what waits for a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from typing import Any

from taskq.commands import Nack, TaskResult
from taskq.errors import ErrorCode, RequestRefused, StaleToken, TaskqError, Unavailable
from taskq.limits import HEARTBEAT_TOKEN_COUNT_MAX, WORKER_NAME_SIZE_MAX
from taskq.results import ClaimedTask
from taskq.worker.choice import make_executor
from taskq.worker.claims import WAIT_SECS, Claims
from taskq.worker.executor import Run
from taskq.worker.function import Ended
from taskq.worker.heartbeats import Heartbeats, WorkerLost
from taskq.worker.held import OUTCOMES_AHEAD_MAX, Held, Phase
from taskq.worker.link import PAUSE_SECS, TRANSIENT, Link
from taskq.worker.outcomes import Outcomes
from taskq.worker.pace import AHEAD_MAX
from taskq.worker.releases import Releases
from taskq.worker.target import WorkerError
from taskq.worker.unknown import unknown_release
from taskq.worker.workload import Work

_log = logging.getLogger("taskq.worker")

# How long the last requests of a worker that ends may take; of one that ends in a hurry.
FAREWELL_SECS = 5.0
FAREWELL_HURRY_SECS = 1.5
# A task that was claimed ahead and has waited here for so long is given back: runs turned out long,
# and other workers may be free.
PATIENCE_SECS = 1.0
# Beyond this, running tasks and unanswered outcomes would not fit one heartbeat.
CONCURRENCY_MAX = HEARTBEAT_TOKEN_COUNT_MAX - OUTCOMES_AHEAD_MAX - AHEAD_MAX - 1


class Ending(Enum):
    """Why a worker ends."""

    DRAIN = "drain"
    LOST = "lost"
    REFUSED = "refused"


class Worker:
    """Runs the tasks of `queues`: with an app by their names, or one function for all.

    `tasks` is a `taskq.App`, a function, or the "module:name" of one. `queues` default to those
    that the app's tasks name, `url` to the app's, then `TASKQ_URL`. `executor`: "process" (the
    default), "thread" or "coroutine" (the default where all functions are coroutine functions).
    Raises WorkerError for options that cannot work.
    """

    def __init__(
        self,
        url: str | None,
        tasks: object,
        queues: str | Sequence[str] = (),
        *,
        concurrency: int = 4,
        prefetch: int | None = None,
        executor: str = "auto",
        name: str | None = None,
        heartbeat_interval: float = 15.0,
        graceful_shutdown_timeout: float = 60.0,
        max_inactivity: float = 60.0,
        cancel_grace: float = 5.0,
        lease: float | None = None,
        link: Link | None = None,
    ) -> None:
        if not 1 <= concurrency <= CONCURRENCY_MAX:
            raise WorkerError(f"concurrency is {concurrency}; allowed are 1 to {CONCURRENCY_MAX}.")
        if prefetch is not None and not 0 <= prefetch <= CONCURRENCY_MAX - concurrency:
            raise WorkerError(f"prefetch is {prefetch}; allowed are 0 to {CONCURRENCY_MAX} slots.")
        work = Work(tasks)
        self.queues = [queues] if isinstance(queues, str) else list(queues) or work.load.queues
        if not self.queues:
            raise WorkerError("queues is empty; name at least one queue.")
        self.name = (name or f"{socket.gethostname()}-{os.getpid()}")[:WORKER_NAME_SIZE_MAX]
        self.counts: Counter[str] = Counter()
        self._url = url or work.load.url
        self._workload = work.load
        self._concurrency = concurrency
        # A third: so that two heartbeats may go lost before the worker takes itself for cut off.
        self._interval_secs = min(heartbeat_interval, max_inactivity / 3)
        self._drain_secs = graceful_shutdown_timeout
        self._inactivity_secs = max_inactivity
        self._lease_secs = lease
        self._executor = make_executor(work, executor, concurrency, prefetch, cancel_grace)
        self._given_link = link
        self._reason: tuple[Ending, TaskqError | None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending, self._hurry = asyncio.Event(), asyncio.Event()
        self._claims: Claims | None = None
        self._changed = asyncio.Event()  # a run has ended, or an outcome was answered

    # --- from outside -----------------------------------------------------------------------------

    def run(self) -> None:
        """Works until SIGTERM or SIGINT; a second signal makes it quick. Blocks.

        Raises WorkerLost, WorkerError (the function cannot be loaded), or what the cluster
        refused the worker with.
        """
        asyncio.run(self._run_with_signals())

    async def _run_with_signals(self) -> None:
        loop = asyncio.get_running_loop()
        previous: dict[signal.Signals, Any] = {}
        numbers = (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                previous[number] = signal.getsignal(number)
                if sys.platform == "win32":
                    signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.stop))
                else:
                    loop.add_signal_handler(number, self.stop)
        try:
            await self.serve()
        finally:
            for number, handler in previous.items():
                if sys.platform != "win32":
                    loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def stop(self) -> None:
        """Drains: claims nothing more, lets running tasks end. Called again: gives them back now.

        To be called on the worker's loop.
        """
        if self._reason is None:
            _log.info("Stopping: waiting for running tasks (once more to give them back now).")
            self._end(Ending.DRAIN)
        else:
            self._hurry.set()

    def _end(self, why: Ending, error: TaskqError | None = None) -> None:
        if self._reason is None:
            self._reason = why, error
        elif why is not Ending.DRAIN:
            self._reason = why, error
            self._hurry.set()
        self._ending.set()

    async def serve(self) -> None:
        """Works until `stop`. See `run`."""
        self._loop = asyncio.get_running_loop()
        self._held = Held(self._interval_secs, self._loop.time())
        await self._executor.start(self)
        self._link = self._given_link or self._connect()
        self._link.on_cancel = self._cancel_pushed
        self._outcomes = Outcomes(self._link, self._held, self.counts, self._changed)
        self._releases = Releases(self._link, self._held, self._changed)
        self._heartbeats = Heartbeats(self._link, self._held, self._executor, self._inactivity_secs)
        claiming = self._duty("claims", self._claim_all())
        others = [
            self._duty("heartbeats", self._heartbeats.beat(self._now)),
            self._duty("outcomes", self._outcomes.send_all(self._now)),
            self._duty("patience", self._give_back_old()),
        ]
        try:
            await self._ending.wait()
            # Before anything else: a claim after the farewell would make the worker known again.
            claiming.cancel()
            await asyncio.wait([claiming])
            await self._wind_up()
        finally:
            left = [claiming, *others, *self._releases.open]
            for duty in left:
                duty.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await self._executor.close()
            await self._link.close()
        assert self._reason is not None
        if (error := self._reason[1]) is not None:
            raise error

    def _connect(self) -> Link:
        from taskq.worker.cluster_link import ClusterLink

        return ClusterLink(
            self._url, self.name, self._concurrency, self._interval_secs, self._lease_secs
        )

    def _duty(self, name: str, duty: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a loop that takes the worker down with it: it must not live on by half."""

        async def guarded() -> None:
            try:
                await duty
            except WorkerLost as error:
                self._end(Ending.LOST, error)
            except TaskqError as error:
                self._end(Ending.REFUSED, error)
            except Exception as error:  # noqa: BLE001 - outermost: logged, and the worker stops
                _log.exception("Bug in the worker: the loop of %s stopped.", name)
                self._end(Ending.REFUSED, TaskqError(f"Bug in the worker: {error!r}"))

        return asyncio.create_task(guarded(), name=name)

    # --- claiming and running ---------------------------------------------------------------------

    async def _claim_all(self) -> None:
        await self._repeat(self._link.register)
        queues = ", ".join(self.queues)
        _log.info("Worker %s: %s, %d at a time.", self.name, queues, self._concurrency)
        if names := self._workload.names:
            _log.info("Tasks: %s.", ", ".join(names))
        self._claims = claims = Claims(
            lambda count, wait: self._repeat(self._link.claim, self.queues, count, wait),
            self._take,
            lambda: 0 if self._held.blocked() else self._executor.claimable(),
            lambda asked: len(self._held.unfinished()) + asked <= self._concurrency,
            self._changed,
            min(WAIT_SECS, self._inactivity_secs / 2),
        )
        await claims.claim_all()

    async def _repeat(self, request: Callable[..., Any], *arguments: Any) -> Any:
        """The answer of a request, sent again while errors are such that may pass."""
        while True:
            try:
                answer = await request(*arguments)
                self._held.contact(self._now())
                return answer
            except TRANSIENT as error:
                _log.warning("%s: %s", request.__name__, error)
                pause = error.retry_after if isinstance(error, Unavailable) else 0.0
            except RequestRefused as error:
                if error.code not in (ErrorCode.TOO_MANY_WORKERS, ErrorCode.TOO_MANY_CLAIMS):
                    raise
                _log.warning("%s: %s", request.__name__, error)
                pause = error.retry_after
            await asyncio.sleep(max(pause, PAUSE_SECS))

    def _take(self, tasks: list[ClaimedTask]) -> None:
        now = self._now()
        due = self._held.heartbeat_due()
        for task in self._held.claimed(tasks, now):
            if self._workload.find(task.name) is None:
                self._held.ended(task.token)
                self._releases.put(unknown_release(task, self._workload.names))
                continue
            limit_ms = task.timeout_ms
            deadline_wall = None if limit_ms is None else time.time() + limit_ms / 1000
            self._executor.run(Run(task, now, deadline_wall))
        if self._held.heartbeat_due() < due:
            self._heartbeats.sooner.set()

    async def _give_back_old(self) -> None:
        while True:
            await asyncio.sleep(PATIENCE_SECS / 10)
            if self._claims is not None:
                self._claims.withdraw()
            since = self._executor.waiting_since()
            if since is not None and self._now() - since > PATIENCE_SECS:
                self._executor.give_back()

    def _cancel_pushed(self, token: int) -> None:
        if self._held.cancel_wanted(token):
            self._executor.stop(token)

    # --- what the executor says -------------------------------------------------------------------

    def run_ended(self, token: int, ended: Ended) -> None:
        """See `Runs`."""
        task = self._held.ended(token)
        if task is None:
            _log.warning("The run with token %d had lost its lease: outcome dropped.", token)
            self.counts["dropped"] += 1
        else:
            self._outcomes.put(TaskResult(task.task_id, token, *ended))
        self._changed.set()

    def run_given_back(self, token: int) -> None:
        """See `Runs`."""
        task = self._held.ended(token)
        if task is not None:
            self._releases.put(Nack(task.task_id, token))
        self._changed.set()

    def room_made(self) -> None:
        """See `Runs`."""
        self._changed.set()

    async def extend(self, token: int, lease_ms: int | None) -> int:
        """See `Runs`."""
        holding = self._held.get(token)
        if holding is None or holding.phase is not Phase.OPEN:
            text = "the lease is lost: the task may have another owner"
            raise StaleToken(ErrorCode.STALE_TOKEN.value, text)
        return await self._link.extend(holding.task, lease_ms)

    # --- the end ----------------------------------------------------------------------------------

    async def _wind_up(self) -> None:
        assert self._reason is not None
        if self._reason[0] is Ending.DRAIN:
            self._executor.give_back()
            await self._until(lambda: not self._held.unfinished(), self._drain_secs)
        hurry = self._reason[0] is not Ending.DRAIN or self._hurry.is_set()
        unfinished = [held.task for held in self._held.unfinished() if not held.cancel_requested]
        if unfinished:
            _log.warning("Giving back %d unfinished task(s).", len(unfinished))
            for task in unfinished:
                self._held.give_back(task.token)
        self._executor.give_back()
        self._executor.kill()
        await self._until(
            lambda: not self._held.unfinished(), FAREWELL_HURRY_SECS, heed_hurry=False
        )
        if self._reason[0] is Ending.LOST:
            return
        farewell_secs = FAREWELL_HURRY_SECS if hurry else FAREWELL_SECS
        await self._until(
            lambda: not self._outcomes and not self._releases, farewell_secs, heed_hurry=False
        )
        await self._give_back(unfinished, farewell_secs)
        await self._say_farewell(self._link.deregister(), farewell_secs)

    async def _give_back(self, tasks: list[ClaimedTask], timeout_secs: float) -> None:
        if tasks:
            releases = [Nack(task.task_id, task.token) for task in tasks]
            await self._say_farewell(self._link.release(releases), timeout_secs)

    async def _say_farewell(self, request: Awaitable[None], timeout_secs: float) -> None:
        try:
            async with asyncio.timeout(timeout_secs):
                await request
        except (TaskqError, TimeoutError, OSError) as error:
            reason = str(error) or "no answer in time"
            _log.warning("Tasks not given back, their leases will run out: %s", reason)

    async def _until(
        self, done: Callable[[], bool], timeout_secs: float, *, heed_hurry: bool = True
    ) -> None:
        """Waits until `done`, for the time-out, or for somebody in a hurry."""
        hurry = asyncio.create_task(self._hurry.wait()) if heed_hurry else None
        deadline = self._now() + timeout_secs
        try:
            while not done() and (left := deadline - self._now()) > 0:
                self._changed.clear()
                change = asyncio.create_task(self._changed.wait())
                waited = [change] if hurry is None else [change, hurry]
                await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                if hurry is not None and hurry.done():
                    return
        finally:
            if hurry is not None:
                hurry.cancel()

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()
