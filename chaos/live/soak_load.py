"""A steady stream of tasks, submitted at a rate whatever happens, and done by workers at once.

An account of one byte per task and side says at the end whether any was lost or done twice: a
history of each call would not fit into memory.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from dataclasses import dataclass, field

from chaos.live.actors import check
from chaos.live.probe import QUEUE as PROBES
from taskq import AsyncClient, AsyncWorkerSession, ClaimedTask, OutcomeUnknown, TaskqError
from taskq.client.identifier import new_task_id
from taskq.client.worker_session import completed
from taskq.commands import SubmitTask
from taskq.results import TaskState

QUEUE = "soak"
PAYLOAD_SIZE = 100
_NUMBER = struct.Struct(">Q")
# Submits go out in bursts so far apart.
BURST_SECS = 0.01
# While there is no service, requests wait; no more than this, the rest of the rate is left out.
OPEN_COUNT_MAX = 20_000
# The peak: as fast as they are done, so many tasks on their way. A cluster in which nothing is
# removed yet is faster: it is measured when records leave as they come, after one and a half times
# the window in which removed ids are known (SETTINGS in `chaos.live.soak`).
PEAK_COUNT = 2_000
PEAK_START_SECS, PEAK_SECS = 90.0, 30.0
# Enough that tasks wait for the cluster, not for workers: what a fault left waiting is done soon.
WORKERS_COUNT = 48
CLAIM_COUNT = 10
WAIT_SECS = 1.0
LEASE_SECS = 10.0
PATIENT_SECS = 60.0
# Tasks in one of these will end.
MOVING = ("ready", "scheduled", "retrying", "leased")


@dataclass
class Account:
    """What was heard of each task, by its number. `left_out`: not submitted, as too many requests
    were open; `refused`: submits by the code of their refusal; `foreign`: probes that were done."""

    acknowledged: bytearray = field(default_factory=bytearray)
    completions: bytearray = field(default_factory=bytearray)
    maybe: bytearray = field(default_factory=bytearray)
    unknown: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    foreign: int = 0
    foreign_maybe: int = 0

    def new(self) -> int:
        """The number of one more task."""
        for one in (self.acknowledged, self.completions, self.maybe):
            one.append(0)
        return len(self.acknowledged) - 1

    def broken(self, totals: dict[str, int], states: dict[str, int], probes: int) -> list[str]:
        """What does not fit together, in sentences; nothing moves any more. `totals`, `states`: of
        the statistics at the end; `probes`: acknowledged ones."""
        found = []
        if lost := self.lost(states):
            found.append(f"lost: {lost} acknowledged tasks were never completed, and are not there")
        if doubled := self.doubled():
            found.append(f"doubled: {doubled} tasks were completed under two tokens")
        sure = self.acknowledged.count(1) + probes
        if not sure <= totals["submitted"] <= sure + self.unknown:
            told = f"{totals['submitted']} were counted, {sure} acknowledged, {self.unknown}"
            found.append(f"submitted: {told} unknown")
        done = self.done() + self.foreign
        most = done + self.maybe.count(1) + self.foreign_maybe
        if not done <= totals["completed"] <= most:
            told = f"{totals['completed']} were counted, {done} to {most} heard of"
            found.append(f"completed: {told}")
        if totals["submitted"] != sum(states.values()) + totals["removed"]:
            found.append(f"sums: {totals} and {states}")
        return found

    def done(self) -> int:
        """Tasks with an accepted completion."""
        return len(self.completions) - self.completions.count(0)

    def doubled(self) -> int:
        """Tasks that were completed more than once."""
        return self.done() - self.completions.count(1)

    def lost(self, states: dict[str, int]) -> int:
        """Acknowledged tasks without a completion, but for those that may have been completed, and
        as many as are there to be done or looked at."""
        each = zip(self.acknowledged, self.completions, self.maybe, strict=True)
        missing = sum(1 for sure, done, maybe in each if sure and not done and not maybe)
        return max(0, missing - states["dead"] - sum(states[one] for one in MOVING))


class SoakLoad:
    """`rate` tasks per second against `urls`, between `start` and `stop`; None: as many as are
    done, with PEAK_COUNT of them on their way."""

    def __init__(self, urls: list[str]) -> None:
        self.rate: float | None = None
        clients = [AsyncClient(url, timeout=PATIENT_SECS, name="soak") for url in urls]
        self._producer, *self._others = clients
        self._open = 0
        self._submitting = True
        self._working = True
        self._tasks: list[asyncio.Task[None]] = []
        self.account = Account()
        # (when, how long it took) of one submit in a hundred.
        self.latencies: list[tuple[float, float]] = []

    def start(self) -> None:
        """Begins at once."""
        self._tasks = [asyncio.create_task(self._submit())]
        for place in range(WORKERS_COUNT):
            client = self._others[place % len(self._others)]
            self._tasks.append(asyncio.create_task(self._work(client)))

    def check(self) -> None:
        """Raises AssertionError where an actor ended before its time."""
        check(self._tasks)

    async def drain(self, timeout_secs: float) -> None:
        """Submits no more, and waits until all that there is was done. Raises TimeoutError."""
        self._submitting = False
        try:
            async with asyncio.timeout(timeout_secs):
                await self._all_done()
        except TimeoutError:
            text = f"{timeout_secs:.0f} s after the last submit there is still something to do"
            raise TimeoutError(text) from None

    async def _all_done(self) -> None:
        await self._tasks[0]
        while True:
            stats = await self._producer.stats()
            if not self._open and not sum(stats.states[state] for state in MOVING):
                return
            await asyncio.sleep(0.5)

    async def stop(self) -> None:
        """Ends the workers; raises what one of them raised."""
        self._submitting = self._working = False
        await asyncio.gather(*self._tasks)
        for client in (self._producer, *self._others):
            await client.close()

    async def peak(self) -> float:
        """Tasks per second that are submitted, claimed and completed when nothing fails."""
        await asyncio.sleep(PEAK_START_SECS)
        begun, before = time.monotonic(), self.account.done()
        await asyncio.sleep(PEAK_SECS)
        return (self.account.done() - before) / (time.monotonic() - begun)

    async def _submit(self) -> None:
        due = time.monotonic()
        owed = 0.0
        while self._submitting:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # A burst that is late brings what has become due since.
            bursts = 1 + max(0, int((time.monotonic() - due) / BURST_SECS))
            due += bursts * BURST_SECS
            if self.rate is None:
                on_their_way = len(self.account.completions) - self.account.done()
                count = room = max(0, PEAK_COUNT - on_their_way)
            else:
                owed += self.rate * bursts * BURST_SECS
                count = int(owed)
                owed -= count
                room = max(0, OPEN_COUNT_MAX - self._open)
            self.account.left_out += max(0, count - room)
            for _ in range(min(count, room)):
                self._one()

    def _one(self) -> None:
        number = self.account.new()
        payload = _NUMBER.pack(number).ljust(PAYLOAD_SIZE, b".")
        begun = time.monotonic()
        self._open += 1
        future = self._producer.send(SubmitTask(new_task_id(), QUEUE, "", payload))

        def answered(done: asyncio.Future[object]) -> None:
            self._open -= 1
            error = None if done.cancelled() else done.exception()
            if error is None and not done.cancelled():
                self.account.acknowledged[number] = 1
                if number % 100 == 0:
                    self.latencies.append((begun, time.monotonic() - begun))
            elif isinstance(error, OutcomeUnknown):
                self.account.unknown += 1
            else:
                code = getattr(error, "code", type(error).__name__)
                self.account.refused[str(code)] += 1

        future.add_done_callback(answered)

    async def _work(self, client: AsyncClient) -> None:
        session = client.worker(heartbeat_interval=LEASE_SECS)
        await session.register()
        while self._working:
            try:
                tasks = await session.claim(
                    [QUEUE, PROBES], CLAIM_COUNT, wait=WAIT_SECS, lease=LEASE_SECS
                )
                await self._complete(session, tasks)
            except TaskqError:
                # What was claimed comes again when its lease has run out.
                await asyncio.sleep(BURST_SECS)

    async def _complete(self, session: AsyncWorkerSession, tasks: list[ClaimedTask]) -> None:
        if not tasks:
            return
        outcomes = [completed(task) for task in tasks]
        for task, reply in zip(tasks, await session.complete_many(outcomes), strict=True):
            accepted = reply == TaskState.COMPLETED
            maybe = isinstance(reply, OutcomeUnknown)
            if task.queue == PROBES:
                self.account.foreign += accepted
                self.account.foreign_maybe += maybe
                continue
            (number,) = _NUMBER.unpack_from(task.payload)
            self.account.completions[number] += accepted
            self.account.maybe[number] |= maybe
