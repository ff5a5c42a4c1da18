"""The loads: what a client process does to the broker, and what is counted.

All go through the public client, on one connection each where it says so. Payloads are 100 bytes
unless it says otherwise; every acknowledgement means "on disk" (durability fsync).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.direct import DirectConnection
from taskq import AsyncClient
from taskq.commands import Ack, ClaimTask, SubmitTask, SubmitTasks, TaskResult, TaskResults

PAYLOAD = b"p" * 100


@dataclass(frozen=True)
class Outcome:
    """`count` things done in `secs`; `latencies_ms` of each where they were taken one by one."""

    count: int
    secs: float
    latencies_ms: list[float]


async def batches(client: AsyncClient, queue: str, secs: float) -> Outcome:
    """Life cycles with batches of 100: submit 100, claim 100, complete 100; 12 under way."""
    counter = _Counter()
    worker = os.urandom(16)

    async def cycle() -> None:
        while counter.running(secs):
            tasks = [SubmitTask(_id(), queue, "f", PAYLOAD) for _ in range(100)]
            await client.send(SubmitTasks(tasks))
            number = counter.claim_number()
            claim = ClaimTask(worker, number, counter.lowest(), [queue], 100, 1_000)
            claimed = (await client.send(claim)).tasks
            counter.answered(number)
            outcomes = [TaskResult(task.task_id, task.token, True, b"ok") for task in claimed]
            await client.send(TaskResults(outcomes))
            counter.count += len(outcomes)

    await asyncio.gather(*(cycle() for _ in range(12)))
    return counter.outcome()


async def singles(client: AsyncClient, queue: str, secs: float) -> Outcome:
    """Life cycles with single submits and completions, pipelined, and claims of 10."""
    counter = _Counter()
    worker = os.urandom(16)
    window = asyncio.Semaphore(400)

    async def produce() -> None:
        while counter.running(secs):
            await window.acquire()
            future = client.send(SubmitTask(_id(), queue, "f", PAYLOAD))
            future.add_done_callback(lambda done: done.result())

    def completed(done: asyncio.Future[object]) -> None:
        done.result()
        counter.count += 1
        window.release()

    async def work() -> None:
        while counter.running(secs):
            number = counter.claim_number()
            claim = ClaimTask(worker, number, counter.lowest(), [queue], 10, 100)
            claimed = (await client.send(claim)).tasks
            counter.answered(number)
            for task in claimed:
                client.send(Ack(task.task_id, task.token)).add_done_callback(completed)

    await asyncio.gather(produce(), *(work() for _ in range(16)))
    await asyncio.sleep(0.2)  # what is under way comes in
    return counter.outcome()


async def requests(client: AsyncClient, queue: str, secs: float) -> Outcome:
    """Single submits on one connection, 200 under way."""
    counter = _Counter()

    async def one() -> None:
        while counter.running(secs):
            await client.send(SubmitTask(_id(), queue, "f", PAYLOAD))
            counter.count += 1

    await asyncio.gather(*(one() for _ in range(200)))
    return counter.outcome()


async def one_at_a_time_at(address: str, queue: str, secs: float) -> Outcome:
    """The same over a bare connection to one node, which passes it on where it does not lead."""
    counter = _Counter()
    latencies = []
    with DirectConnection(address) as node:
        while counter.running(secs):
            started = time.perf_counter()
            node.ask(SubmitTask(_id(), queue, "f", PAYLOAD))
            latencies.append((time.perf_counter() - started) * 1000)
            counter.count += 1
    return Outcome(counter.count, counter.secs(), latencies)


async def one_at_a_time(client: AsyncClient, queue: str, secs: float) -> Outcome:
    """One submit, its answer, the next one."""
    counter = _Counter()
    latencies = []
    while counter.running(secs):
        started = time.perf_counter()
        await client.send(SubmitTask(_id(), queue, "f", PAYLOAD))
        latencies.append((time.perf_counter() - started) * 1000)
        counter.count += 1
    return Outcome(counter.count, counter.secs(), latencies)


class _Counter:
    """Counts, numbers claims, knows when the time is up."""

    def __init__(self) -> None:
        self.count = 0
        self._started = time.perf_counter()
        self._last_number = 0
        self._unanswered: set[int] = set()

    def secs(self) -> float:
        return time.perf_counter() - self._started

    def running(self, secs: float) -> bool:
        return self.secs() < secs

    def claim_number(self) -> int:
        self._last_number += 1
        self._unanswered.add(self._last_number)
        return self._last_number

    def answered(self, number: int) -> None:
        self._unanswered.discard(number)

    def lowest(self) -> int:
        return min(self._unanswered, default=self._last_number + 1)

    def outcome(self) -> Outcome:
        return Outcome(self.count, self.secs(), [])


def _id() -> bytes:
    # Time-ordered like the client library's ids, without its cost in the measuring process.
    return time.time_ns().to_bytes(8, "big") + os.urandom(8)


Load = Callable[[AsyncClient, str, float], Awaitable[Outcome]]
# Through one node: its address takes the place of the client.
DirectLoad = Callable[[str, str, float], Awaitable[Outcome]]


@dataclass(frozen=True)
class Measured:
    """A load, its goal per second and for the median latency (None: none set), settings that differ
    from the defaults, and how many nodes. `at`: "leader" or "follower" for a direct load."""

    name: str
    load: Load | DirectLoad
    unit: str
    goal: int | None
    settings: dict[str, object]
    nodes: int = 1
    at: str = ""
    goal_ms: float | None = None


# The queue is drained by deletion between runs, so that it never refuses.
_ROOM: dict[str, object] = {"broker.queue_depth_threshold": 10_000_000}
_BATCHES: dict[str, object] = {"broker.max_batch_claim": 100}
MEASURED = (
    Measured("batches of 100", batches, "life cycles/s", 20_000, _BATCHES),
    Measured("single, claims of 10", singles, "life cycles/s", 8_000, {}),
    Measured("single submits, one connection", requests, "requests/s", 4_000, dict(_ROOM)),
    Measured("one submit at a time", one_at_a_time, "requests/s", None, dict(_ROOM)),
    Measured("3 nodes: batches of 100", batches, "life cycles/s", 12_000, _BATCHES, 3),
    Measured("3 nodes: single, claims of 10", singles, "life cycles/s", None, {}, 3),
    Measured(
        *("3 nodes: one submit at a time, leader", one_at_a_time_at, "requests/s", None),
        *(dict(_ROOM), 3, "leader", 1.2),
    ),
    Measured(
        *("3 nodes: one submit at a time, follower", one_at_a_time_at, "requests/s", None),
        *(dict(_ROOM), 3, "follower", 2.2),
    ),
)
