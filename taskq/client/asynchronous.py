"""`AsyncClient`: every request of the protocol as a method. The blocking face wraps these."""

# A `timeout` here is the deadline of a request, which the repeats share; cancelling from outside,
# which the rule asks for, could not tell a request that was never sent from one that was.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from taskq.client.batch import batch_answers, submit_all
from taskq.client.channel import Channel
from taskq.client.handle import AsyncTaskHandle
from taskq.client.identifier import TaskIdLike, task_id_bytes
from taskq.client.moment import Duration, duration_ms, seconds_of
from taskq.client.submission import TaskSpec, as_command, submit_command
from taskq.client.tls import FilePath, given_tls
from taskq.client.views import (
    CancelStatus,
    QueueStatus,
    TaskStatus,
    WorkerStatus,
    outcome_of,
    queue_status,
    state_of,
    task_status,
    worker_status,
)
from taskq.client.worker_session import AsyncWorkerSession
from taskq.commands import (
    CancelRequested,
    CancelTask,
    CreateQueue,
    DeleteDead,
    DeleteQueue,
    GetStats,
    ListDead,
    ListQueues,
    ListTasks,
    ListWorkers,
    PauseQueue,
    Ping,
    PurgeQueue,
    QueryStatus,
    RedriveDead,
    ResumeQueue,
    SubmitTask,
)
from taskq.errors import ConnectionFailed, ProtocolError, TaskqError
from taskq.limits import BATCH_COUNT_MAX
from taskq.results import FINAL_STATES, Stats, TaskState

TIMEOUT_SECONDS = 30.0
# How long one question for a result may be parked at the node: beyond it we simply ask again.
RESULT_WAIT_SECONDS = 20.0
# Records asked for at once by listings.
PAGE_COUNT = 500


class AsyncClient:
    """Talks to a cluster from asyncio code; belongs to one event loop at a time.

    `url` is `taskq://KEY@host1:6379,host2:6379` (`taskqs://` for TLS), default `TASKQ_URL`, else
    `taskq://127.0.0.1:6379`. `ca_file` has the authority of the nodes' certificates (default: the
    system's), `cert_file` and `key_file` our own, where nodes demand one; the url may name them,
    and `TASKQ_CA_FILE` and so on. `timeout` is the deadline of each call in seconds or as a
    timedelta, repeats included; `name` is shown in the node's logs. Connects at the first call.

    Every method raises ConnectionFailed where no attempt was sent in time, OutcomeUnknown where
    one may have been carried out, and a subclass of RequestRefused where the cluster said no.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: Duration = TIMEOUT_SECONDS,
        name: str | None = None,
        ca_file: FilePath | None = None,
        cert_file: FilePath | None = None,
        key_file: FilePath | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        tls = given_tls(ssl_context, ca_file, cert_file, key_file)
        self.channel = Channel(url, seconds_of(timeout, "timeout"), name, tls)

    def __repr__(self) -> str:
        return f"<AsyncClient {self.channel}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends open calls and the connection. A second close does nothing."""
        await self.channel.close()

    # --- sending -----------------------------------------------------------------------------

    async def call(self, command: Any, timeout: Duration | None = None) -> Any:
        """Sends any command of the registry; its reply. What the other methods are made of."""
        return await self.send(command, timeout)

    def send(
        self, command: Any, timeout: Duration | None = None, **how: Any
    ) -> asyncio.Future[Any]:
        """Like `call`, but hands out the future at once, so that many requests are under way.

        `how`: see `Channel.send`.
        """
        seconds = None if timeout is None else seconds_of(timeout, "timeout")
        return self.channel.send(command, seconds, **how)

    # --- submitting --------------------------------------------------------------------------

    async def submit(
        self,
        queue: str,
        payload: bytes = b"",
        *,
        name: str = "",
        priority: str | int = "normal",
        delay: Duration | None = None,
        run_at: datetime | None = None,
        ttl: Duration | None = None,
        run_timeout: Duration | None = None,
        max_retries: int = 3,
        backoff: Duration = 1.0,
        backoff_max: Duration = 3600.0,
        headers: Mapping[str, str] | None = None,
        keep_result: bool = True,
        task_id: TaskIdLike | None = None,
        timeout: Duration | None = None,
        retry_full: bool = False,
    ) -> AsyncTaskHandle:
        """Puts a task into a queue; returns once the cluster has it on disk.

        `priority` is `"high"`, `"normal"`, `"low"` or 0..255. `delay` (cluster time) or `run_at`
        (a date with a time zone) say when it may start. `ttl` counts while it is not running,
        `run_timeout` limits one run. A retry waits `backoff` seconds, doubling up to
        `backoff_max`. The same `task_id` again makes no second task. `retry_full` waits for room
        within `timeout` instead of raising QueueFull. Raises ValueError or TypeError for
        arguments that make no sense.
        """
        command = submit_command(
            queue,
            payload,
            name=name,
            priority=priority,
            delay=delay,
            run_at=run_at,
            ttl=ttl,
            run_timeout=run_timeout,
            max_retries=max_retries,
            backoff=backoff,
            backoff_max=backoff_max,
            headers=headers,
            keep_result=keep_result,
            task_id=task_id,
        )
        return await self._submit(command, timeout, retry_full)

    async def submit_spec(
        self,
        task: TaskSpec | Mapping[str, Any],
        *,
        timeout: Duration | None = None,
        retry_full: bool = False,
    ) -> AsyncTaskHandle:
        """`submit` of a task that was described before, as for `submit_many`."""
        spec = task if isinstance(task, TaskSpec) else TaskSpec(**task)
        return await self._submit(spec.command(), timeout, retry_full)

    async def _submit(
        self, command: SubmitTask, timeout: Duration | None, retry_full: bool
    ) -> AsyncTaskHandle:
        assert command.id is not None
        await self.send(command, timeout, retry_full=retry_full)
        return AsyncTaskHandle(self, command.id)

    async def submit_many(
        self,
        tasks: Iterable[TaskSpec | Mapping[str, Any]],
        *,
        timeout: Duration | None = None,
        retry_full: bool = False,
    ) -> list[AsyncTaskHandle | TaskqError]:
        """Submits many tasks in few frames; for each, in order, its handle or what went wrong.
        `timeout` is for all of them together; `retry_full` waits for room within it."""
        seconds = self.channel.timeout if timeout is None else seconds_of(timeout, "timeout")
        commands = [as_command(task) for task in tasks]
        answers = await submit_all(commands, self.send, seconds, retry_full=retry_full)
        return [
            answer if isinstance(answer, TaskqError) else AsyncTaskHandle(self, answer)
            for answer in answers
        ]

    def task(self, task_id: TaskIdLike) -> AsyncTaskHandle:
        """The handle of a task that was submitted before, perhaps elsewhere. Asks nothing yet."""
        return AsyncTaskHandle(self, task_id_bytes(task_id))

    # --- one task ----------------------------------------------------------------------------

    async def status(self, task_id: TaskIdLike, *, timeout: Duration | None = None) -> TaskStatus:
        """All that is known of a task, without its result. Raises NotFound."""
        view = await self.send(QueryStatus(task_id_bytes(task_id), 0, False), timeout)
        return task_status(view)

    async def result(self, task_id: TaskIdLike, *, timeout: Duration | None = None) -> bytes | None:
        """Waits for a task to end, at most `timeout` (default: as long as it takes); its result.

        `timeout=0` asks once, within the deadline of any other call.
        Raises TaskFailed with the error text of the worker, TaskCancelled, TaskExpired,
        TimeoutError, or NotFound.
        """
        task = task_id_bytes(task_id)
        loop = asyncio.get_running_loop()
        if timeout is not None:
            timeout = seconds_of(timeout, "timeout")
        deadline = math.inf if timeout is None else loop.time() + timeout
        while True:
            rest = max(0.0, deadline - loop.time())
            wait = min(rest, RESULT_WAIT_SECONDS)
            seconds = wait + self.channel.timeout
            if timeout != 0:
                seconds = min(rest, seconds)
            try:
                view = await self.send(QueryStatus(task, int(wait * 1000)), seconds)
            except ConnectionFailed:
                if seconds == rest and self.channel.connected:
                    raise _still_running(task, timeout) from None
                raise
            if view.state in FINAL_STATES:
                return outcome_of(view)
            if loop.time() >= deadline:
                raise _still_running(task, timeout)

    async def cancel(
        self, task_id: TaskIdLike, *, force: bool = False, timeout: Duration | None = None
    ) -> CancelStatus:
        """Cancels a waiting task at once and asks a running one to stop; `force` does not wait
        for its worker. Raises NotFound."""
        reply = await self.send(CancelTask(task_id_bytes(task_id), force), timeout)
        return CancelStatus(TaskState(reply.state), reply.requested)

    # --- lists and counts --------------------------------------------------------------------

    async def tasks(
        self,
        *,
        queue: str | None = None,
        state: TaskState | str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[TaskStatus]:
        """Tasks in the order of their ids, `limit` at most; of one queue, in one state."""
        number = None if state is None else int(state_of(state))
        async for page in self.pages(ListTasks(queue, number), limit):
            for view in page:
                yield task_status(view)

    async def dead(
        self, *, queue: str | None = None, limit: int | None = None
    ) -> AsyncIterator[TaskStatus]:
        """Dead tasks, those that died first first."""
        async for page in self.pages(ListDead(queue), limit):
            for view in page:
                yield task_status(view)

    async def queues(self) -> list[QueueStatus]:
        """All queues, by name."""
        return [queue_status(v) async for page in self.pages(ListQueues()) for v in page]

    async def workers(self) -> list[WorkerStatus]:
        """All workers, by id."""
        return [worker_status(v) async for page in self.pages(ListWorkers()) for v in page]

    async def pages(self, command: Any, limit: int | None = None) -> AsyncIterator[list[Any]]:
        """The pages of a listing command as the node sends them, `limit` records at most."""
        rest = math.inf if limit is None else limit
        while rest > 0:
            page = await self.send(command._replace(limit=int(min(rest, PAGE_COUNT))))
            records, after = page
            yield records[: int(min(rest, len(records)))]
            rest -= len(records)
            if after is None:
                return
            if after == command.after:
                raise ProtocolError("a listing that does not come forward")
            command = command._replace(after=after)

    async def stats(self, *, timeout: Duration | None = None) -> Stats:
        """Counts over the whole cluster."""
        reply: Stats = await self.send(GetStats(), timeout)
        return reply

    async def ping(self, *, timeout: Duration | None = None) -> float:
        """Seconds until a node answered."""
        started = time.perf_counter()
        await self.send(Ping(), timeout)
        return time.perf_counter() - started

    # --- queues and dead letters -------------------------------------------------------------

    async def create_queue(
        self,
        name: str,
        *,
        ageing: Duration = 0.0,
        lease: Duration | None = None,
        timeout: Duration | None = None,
    ) -> None:
        """Makes a queue. `ageing`: what one step of priority is worth in waiting time (0: off).
        `lease` default: the broker's. Raises RequestRefused (`ALREADY_EXISTS`) where it exists
        with other settings."""
        lease_ms = None if lease is None else duration_ms(lease, "lease")
        await self.send(CreateQueue(name, duration_ms(ageing, "ageing"), lease_ms), timeout)

    async def pause_queue(self, name: str, *, timeout: Duration | None = None) -> None:
        """Workers get no more tasks of the queue; running ones go on."""
        await self.send(PauseQueue(name), timeout)

    async def resume_queue(self, name: str, *, timeout: Duration | None = None) -> None:
        """Workers get tasks of the queue again."""
        await self.send(ResumeQueue(name), timeout)

    async def purge_queue(self, name: str, *, timeout: Duration | None = None) -> int:
        """Cancels all waiting and scheduled tasks of a queue; their number. `timeout` is for each
        of the requests that this takes."""
        count = 0
        while True:
            purged = await self.send(PurgeQueue(name), timeout)
            count += int(purged.cancelled)
            if not purged.more:
                return count

    async def delete_queue(self, name: str, *, timeout: Duration | None = None) -> None:
        """Deletes an empty queue; a later submit makes it anew. Raises RequestRefused
        (`WRONG_STATE`) while tasks wait or run in it or dead ones are left, NotFound where there
        is no such queue (any more)."""
        await self.send(DeleteQueue(name), timeout)

    async def redrive(
        self, task_ids: Iterable[TaskIdLike], *, timeout: Duration | None = None
    ) -> list[TaskqError | None]:
        """Makes dead tasks ready again; for each None, or why not."""
        return await self._for_each_dead(RedriveDead, task_ids, timeout)

    async def delete_dead(
        self, task_ids: Iterable[TaskIdLike], *, timeout: Duration | None = None
    ) -> list[TaskqError | None]:
        """Deletes dead tasks; for each None, or why not."""
        return await self._for_each_dead(DeleteDead, task_ids, timeout)

    async def _for_each_dead(
        self,
        kind: type[RedriveDead | DeleteDead],
        task_ids: Iterable[TaskIdLike],
        timeout: Duration | None,
    ) -> list[TaskqError | None]:
        ids = [task_id_bytes(task_id) for task_id in task_ids]
        answers: list[TaskqError | None] = []
        for start in range(0, len(ids), BATCH_COUNT_MAX):
            batch = kind(ids[start : start + BATCH_COUNT_MAX])
            replies = batch_answers(batch, await self.send(batch, timeout))
            answers += [reply if isinstance(reply, TaskqError) else None for reply in replies]
        return answers

    # --- workers -----------------------------------------------------------------------------

    def worker(
        self,
        *,
        name: str = "",
        concurrency: int = 1,
        heartbeat_interval: Duration = 15.0,
        on_cancel: Callable[[CancelRequested], None] | None = None,
    ) -> AsyncWorkerSession:
        """A worker's side of the protocol under a new random worker id; asks nothing yet."""
        session = AsyncWorkerSession(
            self,
            name=name,
            concurrency=concurrency,
            heartbeat_interval=heartbeat_interval,
            on_cancel=on_cancel,
        )
        self.channel.listeners.add(session)
        return session


def _still_running(task: bytes, timeout: Duration | None) -> TimeoutError:
    return TimeoutError(f"task {UUID(bytes=task)} has not ended within {timeout} s")
