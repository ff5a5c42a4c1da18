"""`python -m bench.backlog`: what a long backlog costs: memory, restart, claims.

    fill --> rest --> claim from it, in turns with a short queue --> kill -9 all --> serving again

Ids are those that the client library makes, which grow with time. Memory is `RssAnon` of the node
that has most; while filling, it is looked at every half second. The rate of claims is that of
claims of 100 with their completions, without submits: the median of several turns, in which as many
tasks come from the backlog as from a queue that holds no others, each turn after a rest. Restart:
from the start of the processes to the first task claimed from the backlog.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from bench.broker import Cluster
from bench.record import append_backlog, circumstances
from taskq import AsyncClient
from taskq.client.identifier import new_task_id
from taskq.commands import ClaimTask, SubmitTask, SubmitTasks, TaskResult, TaskResults
from taskq.limits import MIB

# Tasks of one submit, and submits under way.
BATCH_COUNT, BATCH_SIZE_MAX, UNDER_WAY = 1_000, 2 * MIB, 8
CLAIM_COUNT = 100
TURN_COUNT, TURNS = 10_000, 5
CLAIMS_UNDER_WAY = 8
REST_SECS = 5.0
# Before each turn: what the last one left to be written and merged is not this one's cost.
SETTLE_SECS = 2.0
LOOK_SECS = 0.5
SHORT = "short"
TIMEOUT_SECS = 120.0
SETTINGS = {
    "broker.queue_depth_threshold": 100_000_000,
    "broker.queue_bytes_threshold": 1 << 40,
    "broker.max_batch_claim": CLAIM_COUNT,
}


class Watch:
    """The most memory that any node had since the last look back."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._most = 0
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        while True:
            self._most = max(self._most, self.now())
            await asyncio.sleep(LOOK_SECS)

    def now(self) -> int:
        """Bytes, of the node that has most."""
        return max(broker.rss_anon() for broker in self._cluster.brokers.values())

    def most(self) -> float:
        """MiB, and forgets it."""
        most, self._most = max(self._most, self.now()), 0
        return round(most / MIB, 1)


class Load:
    """Fills and drains. `queues`: names that the backlog is spread over."""

    def __init__(self, client: AsyncClient, queues: list[str], size: int) -> None:
        self._client = client
        self._queues = queues
        self._payload = os.urandom(size)
        self._worker = os.urandom(16)
        self._number = 0
        self._unanswered: set[int] = set()

    async def fill(
        self, queues: list[str], count: int, step: Any, run_at_wall_ms: Iterator[int] | None = None
    ) -> float:
        """Submits `count` tasks, evenly; seconds. `run_at_wall_ms`: when each is due."""
        batch = max(min(BATCH_COUNT, BATCH_SIZE_MAX // len(self._payload)), 1)
        numbers = iter(range(0, count, batch))
        started = time.perf_counter()

        async def send() -> None:
            for first in numbers:
                tasks = [
                    SubmitTask(
                        new_task_id(),
                        queues[number % len(queues)],
                        "f",
                        self._payload,
                        run_at_wall_ms=None if run_at_wall_ms is None else next(run_at_wall_ms),
                    )
                    for number in range(first, min(first + batch, count))
                ]
                reply = await self._client.send(SubmitTasks(tasks))
                refused = [answer for accepted, answer in reply.answers if not accepted]
                if refused:
                    raise RuntimeError(f"a submit was refused: {refused[0]}")
                step(len(tasks))

        await asyncio.gather(*(send() for _ in range(UNDER_WAY)))
        return time.perf_counter() - started

    async def drain(self, queues: list[str], count: int) -> float:
        """Claims and completes `count` tasks that are there; tasks per second. Claims go round
        the queues, as many as one claim may name at a time."""
        left, started = count, time.perf_counter()

        async def work() -> None:
            nonlocal left
            while left > 0:
                wanted = min(CLAIM_COUNT, left)
                left -= wanted
                self._number += 1
                number = self._number
                self._unanswered.add(number)
                first = number * 7 % len(queues)
                names = (queues[first:] + queues[:first])[:10]
                lowest = min(self._unanswered)
                claim = ClaimTask(self._worker, number, lowest, names, wanted, 5_000)
                tasks = (await self._client.send(claim)).tasks
                self._unanswered.discard(number)
                if not tasks:
                    raise RuntimeError("a claim found nothing in a backlog")
                left += wanted - len(tasks)
                outcomes = [TaskResult(task.task_id, task.token, True, None) for task in tasks]
                await self._client.send(TaskResults(outcomes))

        await asyncio.gather(*(work() for _ in range(CLAIMS_UNDER_WAY)))
        return count / (time.perf_counter() - started)


@click.command()
@click.option("--tasks", default=1_000_000, show_default=True, help="Tasks that wait.")
@click.option("--size", default=1024, show_default=True, help="Bytes of each payload.")
@click.option("--queues", default=1, show_default=True, help="Queues that they are spread over.")
@click.option("--nodes", default=3, show_default=True, help="Nodes of the cluster.")
@click.option("--due-within", default=0, help="They are scheduled, and all due within so many s.")
@click.option("--memory-max", default=0, help="Hard limit of each node in MiB (root only).")
@click.option("--keep/--no-keep", default=True, help="Append to bench/backlog.jsonl.")
def main(
    tasks: int, size: int, queues: int, nodes: int, due_within: int, memory_max: int, keep: bool
) -> None:
    """Fill queues with a long backlog; measure memory, claims and restart."""
    console = Console(stderr=True)
    names = [f"backlog-{number}" for number in range(queues)]
    with Cluster(nodes, SETTINGS, memory_max) as cluster:
        row = asyncio.run(_measure(cluster, names, tasks, size, due_within, console))
    row = {
        **circumstances(),
        "tasks": tasks,
        "size": size,
        "queues": queues,
        "nodes": nodes,
        "due_within": due_within,
        "memory_max": memory_max,
        **row,
    }
    if keep:
        append_backlog(row)
    print(json.dumps(row))


@contextmanager
def _bar(console: Console, title: str, total: int) -> Iterator[Any]:
    columns = (TextColumn(title), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(title, total=total)
        yield lambda count: progress.advance(bar, count)


async def _measure(
    cluster: Cluster, names: list[str], tasks: int, size: int, due_within: int, console: Console
) -> dict[str, Any]:
    row: dict[str, Any] = {}
    async with Watch(cluster) as watch:
        row["memory_idle"] = watch.most()
        async with AsyncClient(cluster.url, timeout=TIMEOUT_SECS) as client:
            load = Load(client, names, size)
            due = None
            # Late enough that all are there before the first is due.
            begin_ms = int((time.time() + tasks / 8_000 + 10) * 1000)
            if due_within:
                due = (begin_ms + number * due_within * 1000 // tasks for number in range(tasks))
            with _bar(console, "filling", tasks) as step:
                secs = await load.fill(names, tasks, step, due)
            row["filled_per_sec"] = round(tasks / secs)
            row["memory_filling"] = watch.most()
            if due_within:
                row |= await _falling_due(client, tasks, begin_ms / 1000, due_within, console)
                row["memory_due"] = watch.most()
            await asyncio.sleep(REST_SECS)
            watch.most()
            row["memory_at_rest"] = watch.most()
            row |= await _claims(load, names, min(TURN_COUNT, tasks // (2 * TURNS)), console)
            row["memory_claiming"] = watch.most()
        cluster.kill()
        started = time.perf_counter()
        cluster.restart()
        async with AsyncClient(cluster.url, timeout=TIMEOUT_SECS) as client:
            await Load(client, names, size).drain(names, 1)
            row["restart_secs"] = round(time.perf_counter() - started, 2)
            watch.most()
            await Load(client, names, size).drain(names, min(TURN_COUNT, tasks // 4))
            row["memory_restarted"] = watch.most()
    return row


async def _falling_due(
    client: AsyncClient, tasks: int, begin: float, secs: int, console: Console
) -> dict[str, Any]:
    """While all fall due: how late the last one is ready, and how long a submit takes meanwhile."""
    if time.time() > begin:
        raise RuntimeError("the first tasks were due before the last were submitted")
    await asyncio.sleep(begin - time.time())
    latencies = []
    with _bar(console, "falling due", tasks) as step:
        shown, looked = 0, 0.0
        while True:
            asked = time.perf_counter()
            await client.send(SubmitTask(new_task_id(), "probe", "f", b""))
            latencies.append((time.perf_counter() - asked) * 1000)
            if time.time() - looked > 1:
                looked = time.time()
                waiting = (await client.stats()).states["scheduled"]
                step(tasks - waiting - shown)
                shown = tasks - waiting
                if not waiting:
                    break
            await asyncio.sleep(0.02)
    latencies.sort()
    return {
        "ready_late_secs": round(max(looked - begin - secs, 0.0), 1),
        "submit_p50_ms": round(median(latencies), 2),
        "submit_p99_ms": round(latencies[len(latencies) * 99 // 100], 2),
        "submit_max_ms": round(latencies[-1], 2),
    }


async def _claims(load: Load, names: list[str], count: int, console: Console) -> dict[str, Any]:
    short, backlog = [], []
    with _bar(console, "claiming", 2 * TURNS * count) as step:
        for _ in range(TURNS):
            await load.fill([SHORT], count, lambda _: None)
            await asyncio.sleep(SETTLE_SECS)
            short.append(await load.drain([SHORT], count))
            step(count)
            await asyncio.sleep(SETTLE_SECS)
            backlog.append(await load.drain(names, count))
            step(count)
    return {
        "claims_short": round(median(short)),
        "claims_backlog": round(median(backlog)),
        "claims_ratio": round(median(b / s for b, s in zip(backlog, short, strict=True)), 2),
    }


if __name__ == "__main__":
    main()
