"""Clients of every kind at work on a broker or cluster, through all that happens.

Producers, workers (good, failing, stalling past their lease, vanishing), cancellers and watchers.
All randomness is from one seed; what the clock does to it is not.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Sequence
from typing import Any

from chaos.live.actors import check
from chaos.live.recorder import Recorder
from taskq import AsyncClient, AsyncWorkerSession, ClaimedTask, TaskSpec
from taskq.client.identifier import new_task_id
from taskq.client.worker_session import completed
from taskq.commands import QueryStatus
from taskq.results import TaskState

QUEUES = ["chaos-a", "chaos-b", "chaos-c"]
PATIENT_SECS = 60.0  # repeats through several restarts
HASTY_SECS = 0.25  # gives up during one, so that some outcomes stay unknown
LEASE_SECS = (1.0, 1.5, 3.0)
# Dead after two of them without contact.
HEARTBEAT_SECS = 1.0
BACKOFF_SECS = 0.2
# Ids that repeats, cancels and questions draw from: the newest.
KNOWN_COUNT = 3_000


def payload_of(task_id: bytes) -> bytes:
    """A payload that belongs to this id and no other, 32 to 1,280 bytes."""
    return task_id.hex().encode() * (1 + task_id[-1] % 40)


class Load:
    """Everything that runs against `urls`, of which each actor takes the next one. `pace_secs`: the
    mean pause of each actor; `hasty`: the part of the calls that give up early."""

    def __init__(
        self,
        urls: Sequence[str],
        recorder: Recorder,
        seed: int,
        pace_secs: float,
        hasty: float = 0.2,
    ) -> None:
        self._urls = urls
        self._recorder = recorder
        self._random = random.Random(seed)
        self._pace_secs = pace_secs
        self._hasty = hasty
        self._specs: list[TaskSpec] = []
        self._clients: list[AsyncClient] = []
        self._stopping = asyncio.Event()
        self._actors: list[asyncio.Task[None]] = []
        self._stalled: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Starts all actors; the node may be there or not."""
        actors = [self._producer] * 3 + [self._batches] + [self._worker] * 4
        actors += [self._canceller, self._watcher]
        for place, actor in enumerate(actors):
            url = self._urls[place % len(self._urls)]
            client = AsyncClient(url, timeout=PATIENT_SECS)
            self._clients.append(client)
            self._actors.append(asyncio.create_task(actor(client)))

    async def stop(self) -> None:
        """Lets every actor end its open call; raises what one of them raised."""
        self._stopping.set()
        await asyncio.gather(*self._actors, *self._stalled)
        await asyncio.gather(*(client.close() for client in self._clients))

    def check(self) -> None:
        """Raises AssertionError where an actor ended before its time."""
        check((*self._actors, *self._stalled))

    # --- producers ---------------------------------------------------------------------------

    async def _producer(self, client: AsyncClient) -> None:
        while await self._go_on():
            count = self._random.choice((1, 1, 2, 8))
            await asyncio.gather(*(self._submit(client) for _ in range(count)))

    async def _submit(self, client: AsyncClient) -> None:
        again = self._specs and self._random.random() < 0.15
        spec = self._random.choice(self._specs) if again else self._new_spec()
        fields = {name: getattr(spec, name) for name in TaskSpec.__slots__}
        request = client.submit(**fields, timeout=self._patience())
        await self._recorder.run(client, "submit", _submitted(spec), request, _nothing)

    async def _batches(self, client: AsyncClient) -> None:
        while await self._go_on():
            specs = [self._new_spec() for _ in range(self._random.randint(2, 12))]
            if len(self._specs) > 50:
                specs.append(self._random.choice(self._specs[-50:-20]))
            request = client.submit_many(specs, timeout=self._patience())
            members = [_submitted(spec) for spec in specs]
            await self._recorder.batch(client, "submit", members, request, _nothing)

    def _new_spec(self) -> TaskSpec:
        task_id, chance = new_task_id(), self._random
        spec = TaskSpec(
            queue=chance.choice(QUEUES),
            payload=payload_of(task_id),
            priority=chance.choice((50, 150, 255)),
            delay=chance.choice((0.3, 0.8, 2.0)) if chance.random() < 0.25 else None,
            backoff=BACKOFF_SECS,
            task_id=task_id,
        )
        self._specs.append(spec)
        if len(self._specs) > 2 * KNOWN_COUNT:
            del self._specs[:KNOWN_COUNT]
        return spec

    # --- workers -----------------------------------------------------------------------------

    async def _worker(self, client: AsyncClient) -> None:
        session = client.worker(heartbeat_interval=HEARTBEAT_SECS)
        await session.register()
        while await self._go_on():
            tasks = await self._claim(client, session)
            if self._random.random() < 0.2:
                await self._complete_all(client, session, tasks)
            else:
                await asyncio.gather(*(self._work(client, session, task) for task in tasks))
            if self._random.random() < 0.02:  # vanishes, with what it holds
                session = client.worker(heartbeat_interval=HEARTBEAT_SECS)
                await session.register()
            elif self._random.random() < 0.01:
                worker = session.worker_id.hex()
                await self._recorder.run(
                    client, "deregister", {"worker": worker}, session.deregister(), _nothing
                )

    async def _claim(self, client: AsyncClient, session: AsyncWorkerSession) -> list[ClaimedTask]:
        chance = self._random
        lease_secs = chance.choice(LEASE_SECS)
        queues = chance.sample(QUEUES, chance.randint(1, len(QUEUES)))
        args = {
            "worker": session.worker_id.hex(),
            "lease_secs": lease_secs,
            "dead_secs": 2 * HEARTBEAT_SECS,
        }
        tasks: list[ClaimedTask] = []

        def read(reply: list[ClaimedTask]) -> dict[str, Any]:
            tasks.extend(reply)
            return {"grants": [_granted(task) for task in reply]}

        request = session.claim(
            queues,
            chance.randint(1, 8),
            wait=chance.choice((0.0, 0.2)),
            lease=lease_secs,
            timeout=self._patience(),
        )
        await self._recorder.run(client, "claim", args, request, read)
        return tasks

    async def _complete_all(
        self, client: AsyncClient, session: AsyncWorkerSession, tasks: list[ClaimedTask]
    ) -> None:
        if tasks:
            request = session.complete_many([completed(task, _result(task)) for task in tasks])
            members = [_outcome(task, result=_result(task).decode()) for task in tasks]
            await self._recorder.batch(client, "complete", members, request, _state)

    async def _work(
        self, client: AsyncClient, session: AsyncWorkerSession, task: ClaimedTask
    ) -> None:
        chance, run = self._random.random(), self._recorder.run
        if chance < 0.60:
            await self._complete(client, session, task)
        elif chance < 0.70:
            retry = self._random.random() < 0.8
            args = _outcome(task, retry=retry, backoff_secs=BACKOFF_SECS)
            await run(client, "fail", args, session.fail(task, "no luck", retry), _state)
        elif chance < 0.78:
            delay = self._random.choice((0.0, 0.0, 0.4))
            args = _outcome(task, delay_secs=delay)
            await run(client, "release", args, session.release(task, delay), _state)
        elif chance < 0.84:
            args = {"worker": session.worker_id.hex(), "tokens": [task.token]}
            request = session.heartbeat([task.token], timeout=self._patience())
            await run(client, "heartbeat", args, request, _beaten)
            await self._complete(client, session, task)
        elif chance < 0.88:
            args = _outcome(task)
            await run(client, "extend", args, session.extend(task), _extended)
            await self._complete(client, session, task)
        elif chance < 0.92:  # an answer that was lost on the way to us: the same again
            await self._complete(client, session, task)
            await self._complete(client, session, task)
        elif chance < 0.98:
            stalled = asyncio.create_task(self._stall(client, session, task))
            self._stalled.add(stalled)
            stalled.add_done_callback(self._awoken)

    async def _stall(
        self, client: AsyncClient, session: AsyncWorkerSession, task: ClaimedTask
    ) -> None:
        # Around the end of the lease: sometimes just in time, mostly after another has the task.
        pause = task.lease_ms / 1000 + self._random.uniform(-0.2, 1.5)
        try:
            await asyncio.wait_for(self._stopping.wait(), pause)
        except TimeoutError:
            pass
        await self._complete(client, session, task)

    def _awoken(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:  # else kept for `failure`
            self._stalled.discard(task)

    async def _complete(
        self, client: AsyncClient, session: AsyncWorkerSession, task: ClaimedTask
    ) -> None:
        args = _outcome(task, result=_result(task).decode())
        request = session.complete(task, _result(task), timeout=self._patience())
        await self._recorder.run(client, "complete", args, request, _state)

    # --- the others --------------------------------------------------------------------------

    async def _canceller(self, client: AsyncClient) -> None:
        while await self._go_on(8.0):
            if self._specs:
                task_id = self._known()
                force = self._random.random() < 0.3
                await self._recorder.run(
                    client,
                    "cancel",
                    {"id": task_id.hex(), "force": force},
                    client.cancel(task_id, force=force, timeout=self._patience()),
                    lambda reply: {"state": reply.state.name, "requested": reply.requested},
                )

    async def _watcher(self, client: AsyncClient) -> None:
        while await self._go_on():
            if self._specs:
                task_id = self._known()
                await self._recorder.run(
                    client,
                    "status",
                    {"id": task_id.hex()},
                    client.call(QueryStatus(task_id), self._patience()),
                    viewed,
                )

    def _known(self) -> bytes:
        task_id = self._random.choice(self._specs[-KNOWN_COUNT:]).task_id
        assert isinstance(task_id, bytes)
        return task_id

    def _patience(self) -> float:
        return HASTY_SECS if self._random.random() < self._hasty else PATIENT_SECS

    async def _go_on(self, slower: float = 1.0) -> bool:
        await asyncio.sleep(self._random.uniform(0, 2 * self._pace_secs * slower))
        return not self._stopping.is_set()


def viewed(view: Any) -> dict[str, Any]:
    """What is kept of a task's status."""
    result = None if view.result is None else view.result.decode("utf-8", "replace")
    return {
        "state": TaskState(view.state).name,
        "queue": view.queue,
        "size": view.size,
        "priority": view.priority,
        "token": view.token,
        "attempt": view.attempt,
        "cancel_requested": view.cancel_requested,
        "has_result": view.has_result,
        "result": result,
    }


def _result(task: ClaimedTask) -> bytes:
    return f"{task.task_id.hex()} by {task.token}".encode()


def _submitted(spec: TaskSpec) -> dict[str, Any]:
    assert isinstance(spec.task_id, bytes)
    return {
        "id": spec.task_id.hex(),
        "queue": spec.queue,
        "priority": spec.priority,
        "size": len(spec.payload),
        "crc": zlib.crc32(spec.payload),
        "delay_secs": spec.delay or 0.0,
    }


def _granted(task: ClaimedTask) -> dict[str, Any]:
    return {
        "id": task.task_id.hex(),
        "token": task.token,
        "queue": task.queue,
        "attempt": task.attempt,
        "lease_secs": task.lease_ms / 1000,
        "crc": zlib.crc32(task.payload),
    }


def _outcome(task: ClaimedTask, **more: Any) -> dict[str, Any]:
    return {"id": task.task_id.hex(), "token": task.token, **more}


def _state(reply: Any) -> dict[str, Any]:
    return {"state": TaskState(reply).name}


def _extended(reply: Any) -> dict[str, Any]:
    return {"lease_secs": reply.lease_ms / 1000}


def _beaten(reply: Any) -> dict[str, Any]:
    return {"invalid": list(reply.invalid), "cancel": list(reply.cancel)}


def _nothing(_: Any) -> dict[str, Any]:
    return {}
