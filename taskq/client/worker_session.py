"""A worker's side of the protocol: claims that are numbered, outcomes, heartbeats.

    new --register/first claim--> known --deregister--> gone

Numbers claims and knows which are unanswered, so that the cluster can forget the others. Starts no
task and no timer: when to beat and what to run is the worker's business (`taskq/worker`).
"""

# A `timeout` here is the deadline of a request, which the repeats share; cancelling from outside,
# which the rule asks for, could not tell a request that was never sent from one that was.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from taskq.client.batch import batch_answers
from taskq.client.moment import Duration, duration_ms, seconds_of
from taskq.commands import (
    Ack,
    CancelRequested,
    ClaimTask,
    DeregisterWorker,
    ExtendLease,
    Heartbeat,
    Nack,
    RegisterWorker,
    TaskResult,
    TaskResults,
)
from taskq.errors import ConnectionFailed, TaskqError
from taskq.limits import BATCH_COUNT_MAX, ENTRY_SIZE_MAX, ERROR_SIZE_MAX, WAIT_MS_MAX
from taskq.results import (
    Claimed,
    ClaimedTask,
    Extended,
    HeartbeatReply,
    Registered,
    TaskState,
)

if TYPE_CHECKING:
    from taskq.client.asynchronous import AsyncClient

# "unanswered ones are repeated within 2 s": one attempt of a heartbeat.
HEARTBEAT_SECONDS = 2.0


class AsyncWorkerSession:
    """One worker, through an `AsyncClient`. Made by `AsyncClient.worker`.

    `on_cancel` is called on the event loop when the cancellation of a task that
    this worker holds is wanted; heartbeat answers say the same a little later.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        name: str = "",
        concurrency: int = 1,
        heartbeat_interval: Duration = 15.0,
        on_cancel: Callable[[CancelRequested], None] | None = None,
    ) -> None:
        self.worker_id = os.urandom(16)
        self.on_cancel = on_cancel
        self._client = client
        self._name = name
        self._concurrency = concurrency
        self._interval_ms = duration_ms(heartbeat_interval, "heartbeat_interval")
        self._last_number = 0
        self._unanswered: set[int] = set()

    @property
    def lowest_unanswered(self) -> int:
        """The lowest claim number whose answer has not come."""
        return min(self._unanswered, default=self._last_number + 1)

    async def register(self, timeout: Duration | None = None) -> Registered:
        """Makes the worker known; the reply says how soon it counts as dead without contact."""
        command = RegisterWorker(self.worker_id, self._name, self._concurrency, self._interval_ms)
        reply: Registered = await self._client.send(command, timeout)
        return reply

    async def deregister(self, timeout: Duration | None = None) -> int:
        """Forgets the worker; how many tasks it still held, which go back to their places."""
        reply = await self._client.send(DeregisterWorker(self.worker_id), timeout)
        return int(reply.released)

    async def claim(
        self,
        queues: Sequence[str],
        max_tasks: int = 1,
        *,
        wait: Duration = 0.0,
        lease: Duration | None = None,
        timeout: Duration | None = None,
    ) -> list[ClaimedTask]:
        """The next tasks of the queues, in the order listed; waits up to `wait` for the first, at
        most 300 s. The deadline is `timeout` after that. However many are asked for, no more come
        than the broker's `max_batch_claim` (10 unless it says otherwise): that few came does not
        mean that no more are there.

        Several claims may be under way. A broken connection repeats a claim under its number.
        Tasks that come after the caller has gone (cancelled, or out of time) are released.
        """
        wait_ms = min(duration_ms(wait, "wait"), WAIT_MS_MAX)
        lease_ms = None if lease is None else duration_ms(lease, "lease")
        number = self._last_number + 1
        lowest = min(self._unanswered, default=number)
        command = ClaimTask(
            self.worker_id, number, lowest, list(queues), max_tasks, wait_ms, lease_ms
        )
        future: asyncio.Future[Claimed] = self._client.send(
            command, timeout, wait=wait_ms / 1000, late=self._release_late
        )
        self._last_number = number
        self._unanswered.add(number)
        try:
            return (await future).tasks
        except asyncio.CancelledError:
            # The answer may have come in the very round of the loop in which the caller went.
            if future.done() and not future.cancelled() and future.exception() is None:
                self._release_late(future.result())
            raise
        finally:
            self._unanswered.discard(number)

    async def complete(
        self, task: ClaimedTask, result: bytes | None = None, timeout: Duration | None = None
    ) -> TaskState:
        """Ends a run well; the task's state. Raises StaleToken where the lease was lost."""
        command = (
            Ack(task.task_id, task.token)
            if result is None
            else TaskResult(task.task_id, task.token, True, result)
        )
        return TaskState((await self._client.send(command, timeout)).state)

    async def fail(
        self, task: ClaimedTask, error: str, retry: bool = True, timeout: Duration | None = None
    ) -> TaskState:
        """Ends a run badly: the task is retried, or dead. Long error texts are cut."""
        command = TaskResult(task.task_id, task.token, False, None, error[:ERROR_SIZE_MAX], retry)
        return TaskState((await self._client.send(command, timeout)).state)

    async def complete_many(
        self, outcomes: Iterable[TaskResult], timeout: Duration | None = None
    ) -> list[TaskState | TaskqError]:
        """Many outcomes in few frames; for each the task's state or what went wrong.

        Outcomes are made by `completed` and `failed`.
        """
        batches = [TaskResults(batch) for batch in _in_batches(outcomes)]
        futures = [self._client.send(batch, timeout) for batch in batches]
        answers: list[TaskState | TaskqError] = []
        try:
            for batch, future in zip(batches, futures, strict=True):
                try:
                    for reply in batch_answers(batch, await future):
                        refused = isinstance(reply, TaskqError)
                        answers.append(reply if refused else TaskState(reply.state))
                except TaskqError as error:
                    answers += [error] * len(batch.outcomes)
        finally:
            for future in futures:
                future.cancel()
        return answers

    async def release(
        self,
        task: ClaimedTask,
        delay: Duration = 0.0,
        timeout: Duration | None = None,
        *,
        unknown_task: bool = False,
    ) -> TaskState:
        """Gives a task back to its place, or makes it wait `delay` first; counts as nothing.

        With `unknown_task` it says that this worker does not know the task's name: then the
        cluster lets it wait for a newer worker, longer each time (`delay` is the first wait), and
        at the tenth time it is dead (`UNKNOWN_TASK`).
        """
        command = Nack(task.task_id, task.token, duration_ms(delay, "delay"), unknown_task)
        return TaskState((await self._client.send(command, timeout)).state)

    async def extend(
        self, task: ClaimedTask, lease: Duration | None = None, timeout: Duration | None = None
    ) -> Extended:
        """A longer lease from now on; the reply says how long, and whether to stop."""
        lease_ms = None if lease is None else duration_ms(lease, "lease")
        command = ExtendLease(task.task_id, task.token, lease_ms)
        reply: Extended = await self._client.send(command, timeout)
        return reply

    async def heartbeat(
        self,
        tokens: Iterable[int],
        cpu_permille: int = 0,
        memory_size: int = 0,
        timeout: Duration | None = None,
    ) -> HeartbeatReply:
        """Extends the leases of exactly these tokens; which are no longer valid, and which to
        cancel. Default `timeout`: 2 s, after which the worker beats again."""
        command = Heartbeat(
            self.worker_id, list(tokens), self.lowest_unanswered, cpu_permille, memory_size
        )
        seconds = HEARTBEAT_SECONDS if timeout is None else seconds_of(timeout, "timeout")
        reply: HeartbeatReply = await self._client.send(command, seconds)
        return reply

    def pushed(self, command: Any) -> None:
        """Called by the link with what a node sends by itself."""
        if isinstance(command, CancelRequested) and self.on_cancel is not None:
            self.on_cancel(command)

    def _release_late(self, reply: Claimed) -> None:
        for task in reply.tasks:
            # Nobody waits for the answer: if it is lost, the lease ends by itself.
            try:
                future = self._client.send(Nack(task.task_id, task.token))
            except ConnectionFailed:  # the client was closed
                return
            future.add_done_callback(_look)


def completed(task: ClaimedTask, result: bytes | None = None) -> TaskResult:
    """The outcome of a run that ended well, for `complete_many`."""
    return TaskResult(task.task_id, task.token, True, result)


def failed(task: ClaimedTask, error: str, retry: bool = True) -> TaskResult:
    """The outcome of a run that ended badly, for `complete_many`."""
    return TaskResult(task.task_id, task.token, False, None, error[:ERROR_SIZE_MAX], retry)


def _in_batches(outcomes: Iterable[TaskResult]) -> list[list[TaskResult]]:
    batches: list[list[TaskResult]] = []
    size = ENTRY_SIZE_MAX
    for outcome in outcomes:
        added = 100 + len(outcome.result or b"") + len(outcome.error)
        if size + added > ENTRY_SIZE_MAX or len(batches[-1]) == BATCH_COUNT_MAX:
            batches.append([])
            size = 0
        batches[-1].append(outcome)
        size += added
    return batches


def _look(future: Any) -> None:
    if not future.cancelled():
        future.exception()  # seen: not worth a log line
