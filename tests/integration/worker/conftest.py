"""A cluster of one class: hands out tasks, remembers what the worker says, fails on demand."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from taskq.commands import Nack, TaskResult
from taskq.errors import ConnectionFailed, StaleToken, TaskqError
from taskq.results import ClaimedTask, HeartbeatReply
from taskq.worker import Worker

HERE = Path(__file__).parent


class FakeCluster:
    """A `Link`. `refusals` answer the next outcomes, by position of their arrival."""

    def __init__(self) -> None:
        self.on_cancel: Callable[[int], None] | None = None
        self.ready: asyncio.Queue[ClaimedTask] = asyncio.Queue()
        self.log: list[str] = []
        self.claims: list[int] = []
        self.heartbeats: list[list[int]] = []
        self.heartbeat_times: list[float] = []
        self.outcomes: dict[int, TaskResult] = {}
        self.batches: list[int] = []
        self.released: list[int] = []
        self.unknown: list[Nack] = []
        self.extended: list[tuple[int, int | None]] = []
        self.invalid: list[int] = []
        self.cancel: list[int] = []
        self.refusals: list[TaskqError | None] = []
        self.down = False
        self.hang = False
        self.arrived = asyncio.Event()
        self._tokens = itertools.count(1)

    def submit(self, *args: Any, **options: Any) -> ClaimedTask:
        payload = options.pop("payload", None)
        if payload is None:
            payload = json.dumps({"args": args, "kwargs": options.pop("kwargs", {})}).encode()
        task = ClaimedTask(
            uuid.uuid4().bytes,
            next(self._tokens),
            "work",
            options.pop("name", ""),
            payload,
            options.pop("headers", {}),
            150,
            1,
            options.pop("lease_ms", 30_000),
            options.pop("timeout_ms", None),
            0,
        )
        assert not options
        self.ready.put_nowait(task)
        return task

    async def _answer(self, what: str) -> None:
        self.log.append(what)
        if self.down:
            raise ConnectionFailed("the test cut the line")
        if self.hang:
            await asyncio.sleep(3600)

    async def register(self) -> None:
        await self._answer("register")

    async def claim(
        self, queues: Sequence[str], max_tasks: int, wait_secs: float
    ) -> list[ClaimedTask]:
        await self._answer("claim")
        self.claims.append(max_tasks)
        if self.ready.empty() and not wait_secs:
            return []
        tasks = [await self.ready.get()]
        while len(tasks) < max_tasks and not self.ready.empty():
            tasks.append(self.ready.get_nowait())
        return tasks

    async def heartbeat(
        self, tokens: list[int], cpu_permille: int, memory_size: int
    ) -> HeartbeatReply:
        self.heartbeat_times.append(asyncio.get_running_loop().time())
        await self._answer("heartbeat")
        assert memory_size > 0
        self.heartbeats.append(tokens)
        return HeartbeatReply(list(self.invalid), list(self.cancel))

    async def send(self, outcomes: list[TaskResult]) -> list[TaskqError | None]:
        await self._answer("outcomes")
        self.batches.append(len(outcomes))
        answers = []
        for outcome in outcomes:
            refusal = self.refusals.pop(0) if self.refusals else None
            if refusal is None:
                self.outcomes[outcome.token] = outcome
            answers.append(refusal)
        self.arrived.set()
        return answers

    async def release(self, releases: Sequence[Nack]) -> None:
        await self._answer("release")
        self.released += [release.token for release in releases]
        self.unknown += [release for release in releases if release.unknown_task]

    async def extend(self, task: ClaimedTask, lease_ms: int | None) -> int:
        await self._answer("extend")
        if task.token in self.invalid:
            raise StaleToken("STALE_TOKEN", "the token is not valid any more")
        self.extended.append((task.token, lease_ms))
        return lease_ms or task.lease_ms

    async def deregister(self) -> None:
        await self._answer("deregister")

    async def close(self) -> None:
        self.log.append("close")

    async def outcome(self, task: ClaimedTask, within: float = 15.0) -> TaskResult:
        """The outcome of a task, as soon as it has arrived."""
        await eventually(lambda: task.token in self.outcomes, within)
        return self.outcomes[task.token]


async def eventually(condition: Callable[[], bool], within: float = 15.0) -> None:
    """Waits for a condition; fails the test where it does not come true in time."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - conditions of any kind
            await asyncio.sleep(0.005)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def until() -> Callable[..., Any]:
    return eventually


@pytest.fixture
async def start(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts workers on the fake cluster; those left running are stopped at the end."""
    monkeypatch.syspath_prepend(str(HERE))
    started: list[tuple[Worker, asyncio.Task[None]]] = []

    async def start_worker(function: Any, **options: Any) -> tuple[Worker, asyncio.Task[None]]:
        if isinstance(function, str) and ":" not in function:
            function = f"functions:{function}"
        worker = Worker(None, function, "work", link=cluster, **options)
        serving = asyncio.create_task(worker.serve())
        started.append((worker, serving))
        return worker, serving

    yield start_worker
    cluster.down = cluster.hang = False
    for worker, _ in started:
        worker.stop()
        worker.stop()
    await asyncio.gather(*(serving for _, serving in started), return_exceptions=True)
