"""Clients of every kind: producers, workers (good, failing, stalling, vanishing), others who cancel
and ask. They repeat what they are not sure of, and sometimes what they are sure of."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chaos.checkers import repeated_claim
from chaos.sim.caller import RATE_MAX, Caller
from chaos.sim.clocks import WALL_START_SECS
from chaos.sim.tasks import BACKOFF_MS, QUEUES, ageing_queues, new_task, submitted
from chaos.sim.world import World
from taskq import commands
from taskq.results import TaskState

LEASE_MS = (1_000, 1_500, 3_000)
HEARTBEAT_MS = 1_500
# A claim or a query of a task that is not there yet waits so long.
WAIT_MS = (0, 0, 0, 300, 1_500)
# Now and then a producer submits so many in a row, so that a queue forms.
BURST, BURST_CHANCE = 7, 0.1
PATIENT_SECS, HASTY_SECS = 20.0, 0.4


@dataclass(frozen=True)
class Held:
    """A task that a worker holds."""

    task_id: bytes
    token: int
    lease_secs: float


class Actors:
    """All clients of a run, on the clients' loop; `stop` lets them end what they are at."""

    def __init__(self, world: World, make_caller: Callable[[random.Random], Caller]) -> None:
        self._world = world
        self._make_caller = make_caller
        self._specs: list[commands.SubmitTask] = []
        self._stopping = False
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts them all."""
        actors: list[Callable[..., Any]] = [self._producer] * 2 + [self._worker] * 4
        actors += [self._asker]
        for number, actor in enumerate(actors):
            chance = self._world.generator("client", number)
            task = loop.create_task(actor(self._make_caller(chance), chance))
            task.add_done_callback(self._ended)
            self.tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._world.violate(f"a client failed: {task.exception()!r}")

    def stop(self) -> None:
        """Nothing new is begun."""
        self._stopping = True

    @property
    def done(self) -> bool:
        """Whether every call has ended."""
        return all(task.done() for task in self.tasks)

    async def _go_on(self, chance: random.Random, mean_secs: float) -> bool:
        await asyncio.sleep(chance.uniform(0, 2 * mean_secs))
        return not self._stopping

    def _patience(self, chance: random.Random) -> float:
        return HASTY_SECS if chance.random() < 0.15 else PATIENT_SECS

    # --- producers --------------------------------------------------------------------------------

    async def _producer(self, caller: Caller, chance: random.Random) -> None:
        for queue in ageing_queues():
            made = False
            while not made and not self._stopping:
                args = {"queue": queue.queue, "ageing_ms": queue.ageing_ms}
                call, _ = await caller.call("queue", queue, args, _nothing, PATIENT_SECS)
                made = call.ok
        while await self._go_on(chance, 1.2):
            for _ in range(BURST if chance.random() < BURST_CHANCE else 1):
                again = self._specs and chance.random() < 0.15
                spec = chance.choice(self._specs) if again else self._new_spec(chance)
                patience = self._patience(chance)
                await caller.call("submit", spec, submitted(spec), _nothing, patience)

    def _new_spec(self, chance: random.Random) -> commands.SubmitTask:
        spec = new_task(chance, WALL_START_SECS + self._world.now)
        self._specs.append(spec)
        return spec

    # --- workers ----------------------------------------------------------------------------------

    async def _worker(self, caller: Caller, chance: random.Random) -> None:
        while not self._stopping:
            worker = _Worker(self._world, caller, chance)
            if not await worker.register():
                continue
            while await self._go_on(chance, 1.6):
                for held in await worker.claim(self._patience(chance)):
                    await self._work(worker, held, chance)
                if chance.random() < 0.05:  # goes, or vanishes with what it holds
                    if chance.random() < 0.5:
                        await worker.deregister(self._patience(chance))
                    break

    async def _work(self, worker: _Worker, held: Held, chance: random.Random) -> None:
        drawn, patience = chance.random(), self._patience(chance)
        if drawn < 0.08:
            return  # never heard of again
        if drawn < 0.2:
            await asyncio.sleep(held.lease_secs + chance.uniform(-0.3, 1.0))
        elif drawn < 0.25:
            await worker.heartbeat(held, patience)
        elif drawn < 0.3:
            await worker.extend(held, patience)
        if drawn < 0.4:
            await worker.fail(held, patience)
        elif drawn < 0.5:
            await worker.release(held, chance.choice((0, 0, 400)), patience)
        else:
            await worker.complete(held, patience, twice=chance.random() < 0.15)

    # --- the others -------------------------------------------------------------------------------

    async def _asker(self, caller: Caller, chance: random.Random) -> None:
        while await self._go_on(chance, 1.0):
            if not self._specs:
                continue
            task_id = chance.choice(self._specs[-40:]).id
            assert task_id is not None
            if chance.random() < 0.25:
                force = chance.random() < 0.3
                request: Any = commands.CancelTask(task_id, force)
                args = {"id": task_id.hex(), "force": force}
                await caller.call("cancel", request, args, _cancelled, self._patience(chance))
            else:
                stale = chance.random() < 0.3
                request = commands.QueryStatus(task_id, 0 if stale else chance.choice(WAIT_MS))
                request = request._replace(stale=stale)
                kind, args = "stale status" if stale else "status", {"id": task_id.hex()}
                await caller.call(kind, request, args, viewed, self._patience(chance))


class _Worker:
    """One registration of a worker."""

    def __init__(self, world: World, caller: Caller, chance: random.Random) -> None:
        self._world = world
        self._caller = caller
        self._chance = chance
        self.id = chance.randbytes(16)
        self._claims = 0
        self._unanswered: list[int] = []

    async def register(self) -> bool:
        request = commands.RegisterWorker(self.id, "w", 1, HEARTBEAT_MS)
        args = {"worker": self.id.hex()}
        call, _ = await self._caller.call("register", request, args, _nothing, PATIENT_SECS)
        return call.ok

    async def claim(self, patience: float) -> list[Held]:
        """Takes tasks; sometimes asks the same once more, which must change nothing."""
        chance = self._chance
        self._claims += 1
        self._unanswered.append(self._claims)
        lease = chance.choice(LEASE_MS)
        queues = list(QUEUES) if chance.random() < 0.7 else [chance.choice(QUEUES)]
        request = commands.ClaimTask(
            *(self.id, self._claims, self._unanswered[0], queues),
            max_tasks=chance.randint(1, 4),
            wait_ms=chance.choice(WAIT_MS),
            lease_ms=lease,
        )
        args = {"worker": self.id.hex(), "dead_secs": 2 * HEARTBEAT_MS / 1000 / RATE_MAX}
        call, reply = await self._caller.call("claim", request, args, _granted, patience)
        if not call.ok:
            return []
        if call.reply["grants"] and chance.random() < 0.15:
            again, _ = await self._caller.call("claim again", request, args, _granted, patience)
            if broken := repeated_claim(call, again):
                self._world.violate(f"P4: {broken}")
            if not again.ok:
                return []
        self._unanswered.remove(self._claims)
        return [
            Held(task.task_id, task.token, task.lease_ms / 1000 / RATE_MAX) for task in reply.tasks
        ]

    async def complete(self, held: Held, patience: float, *, twice: bool) -> None:
        result = f"{held.task_id.hex()} by {held.token}"
        request = commands.TaskResult(held.task_id, held.token, True, result.encode())
        args = _outcome(held, result=result)
        call, _ = await self._caller.call("complete", request, args, _state, patience)
        if call.ok and twice:
            again, _ = await self._caller.call("complete", request, args, _state, patience)
            if again.code not in ("", "LOST", "NOT_SENT") or (
                again.ok and again.reply != call.reply
            ):
                self._world.violate(
                    f"P4: {args} answered {call.reply}, repeated {again.code} {again.reply}"
                )

    async def fail(self, held: Held, patience: float) -> None:
        request = commands.TaskResult(held.task_id, held.token, False, None, "no luck")
        args = _outcome(held, backoff_secs=BACKOFF_MS / 1000 / RATE_MAX)
        await self._caller.call("fail", request, args, _state, patience)

    async def release(self, held: Held, delay_ms: int, patience: float) -> None:
        # With a delay, every other one is that of a worker which does not know the task.
        unknown = delay_ms > 0 and held.token % 2 == 0
        request = commands.Nack(held.task_id, held.token, delay_ms, unknown)
        args = _outcome(held, delay_secs=delay_ms / 1000 / RATE_MAX)
        await self._caller.call("release", request, args, _state, patience)

    async def extend(self, held: Held, patience: float) -> None:
        lease_ms = round(held.lease_secs * RATE_MAX * 1000)
        request = commands.ExtendLease(held.task_id, held.token, lease_ms)
        await self._caller.call("extend", request, _outcome(held), _nothing, patience)

    async def deregister(self, patience: float) -> None:
        args = {"worker": self.id.hex()}
        request = commands.DeregisterWorker(self.id)
        await self._caller.call("deregister", request, args, _nothing, patience)

    async def heartbeat(self, held: Held, patience: float) -> None:
        request = commands.Heartbeat(self.id, [held.token], self._claims)
        args = {"worker": self.id.hex(), "tokens": [held.token]}
        await self._caller.call("heartbeat", request, args, _beaten, patience)


# --- what is written down -------------------------------------------------------------------------


def _granted(reply: Any) -> dict[str, Any]:
    return {
        "grants": [
            {
                "id": task.task_id.hex(),
                "token": task.token,
                "lease_secs": task.lease_ms / 1000 / RATE_MAX,
                "crc": zlib.crc32(task.payload),
            }
            for task in reply.tasks
        ]
    }


def _outcome(held: Held, **more: Any) -> dict[str, Any]:
    return {"id": held.task_id.hex(), "token": held.token, **more}


def _state(reply: Any) -> dict[str, Any]:
    return {"state": TaskState(reply.state).name}


def _cancelled(reply: Any) -> dict[str, Any]:
    return {"state": TaskState(reply.state).name, "requested": reply.requested}


def _beaten(reply: Any) -> dict[str, Any]:
    return {"invalid": list(reply.invalid), "cancel": list(reply.cancel)}


def viewed(view: Any) -> dict[str, Any]:
    """What is kept of a task's status."""
    return {
        "state": TaskState(view.state).name,
        "queue": view.queue,
        "size": view.size,
        "priority": view.priority,
        "token": view.token,
        "attempt": view.attempt,
        "cancel_requested": view.cancel_requested,
        "has_result": view.has_result,
        "result": None if view.result is None else view.result.decode(),
    }


def _nothing(_: Any) -> dict[str, Any]:
    return {}
