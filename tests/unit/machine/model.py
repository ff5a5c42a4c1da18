"""A small queue to compare the machine with: dictionaries and sorted lists, written from the rules
for users and not from the code. Slow on purpose: it looks at every task, every time.

Each verb returns what the machine should answer, with a refusal as its code alone. What it cannot
know is the jitter of a retry: `Task.due` is then None until `settle` is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from taskq import commands, results
from taskq.errors import ErrorCode
from taskq.results import TaskState

SCHEDULED, READY, LEASED, RETRYING, COMPLETED, DEAD, CANCELLED, EXPIRED = map(int, TaskState)
WAITING = (SCHEDULED, READY, RETRYING)
DEAD_AFTER_INTERVALS = 2
HISTORY_MAX = 20


@dataclass
class Task:
    id: bytes
    command: commands.SubmitTask
    state: int
    place: tuple[int, int] | None = None  # in its queue; None: a new one when it becomes ready
    due: tuple[str, int, int] | None = None  # clock, when, order
    ttl_left: int | None = None
    ttl_end: int | None = None
    retries: int = 0
    expiries: int = 0
    unknown: int = 0
    attempt: int = 0
    history: list[tuple[int, str]] = field(default_factory=list)
    token: int = 0
    worker: bytes = b""
    deadline: int = 0
    lease_ms: int = 0
    run_end: int | None = None
    stop_wanted: bool = False
    outcome: tuple[str, int] | None = None  # how the run under `token` ended, and its answer
    result: bytes | None = None
    ended: tuple[int, int] | None = None  # wall, cluster time
    ending: int = 0  # the how-manieth end


@dataclass
class Worker:
    seen: int
    interval: int = 15_000
    floor: int = 1
    claims: dict[int, list[int]] = field(default_factory=dict)
    leaving: bool = False

    @property
    def death(self) -> int:
        return 0 if self.leaving else self.seen + DEAD_AFTER_INTERVALS * self.interval


@dataclass
class Queue:
    ageing: int = 0
    lease: int | None = None
    paused: bool = False


class Model:
    def __init__(self, *, leases_per_entry: int, unknown_max: int) -> None:
        self.elapsed = self.wall = self.token = self.order = 0
        self.tasks: dict[bytes, Task] = {}
        self.known: dict[bytes, int] = {}  # ids of removed tasks -> until when
        self.workers: dict[bytes, Worker] = {}
        self.queues: dict[str, Queue] = {}
        self.submitted = self.removed = self.endings = 0
        self.depth_max, self.batch_max, self.expiries_max = 100_000, 10, 5
        self.lease_ms, self.result_max = 30_000, 1 << 20
        self.retention, self.dead_retention, self.window = 7 * 86_400_000, 30 * 86_400_000, 600_000
        self._leases_per_entry = leases_per_entry
        self._unknown_max = unknown_max

    # --- what tasks have in common

    def _in(self, *states: int) -> list[Task]:
        return [task for task in self.tasks.values() if task.state in states]

    def ready(self, queue: str) -> list[Task]:
        found = [task for task in self._in(READY) if task.command.queue == queue]
        return sorted(found, key=lambda task: task.place or (0, 0))

    def held(self, worker_id: bytes) -> list[Task]:
        found = [task for task in self._in(LEASED) if task.worker == worker_id]
        return sorted(found, key=lambda task: task.token)

    def _next(self) -> int:
        self.order += 1
        return self.order

    def _make_ready(self, task: Task) -> None:
        task.state, task.due = READY, None
        if task.place is None:
            steps = 255 - task.command.priority
            ageing = self.queues[task.command.queue].ageing
            urgency = self.elapsed + steps * ageing if ageing else steps
            task.place = (urgency, self._next())
        self._run_ttl(task)

    def _run_ttl(self, task: Task) -> None:
        if task.ttl_left is not None and task.ttl_end is None:
            task.ttl_end = self.elapsed + task.ttl_left

    def _stop_ttl(self, task: Task) -> None:
        if task.ttl_end is not None:
            task.ttl_left, task.ttl_end = max(task.ttl_end - self.elapsed, 0), None

    def _end(self, task: Task, state: int) -> None:
        self._stop_ttl(task)
        task.state, task.due, task.ended = state, None, (self.wall, self.elapsed)
        self.endings += 1
        task.ending = self.endings

    def _record(self, task: Task, outcome: str) -> None:
        task.history = [*task.history, (task.attempt, outcome)][-HISTORY_MAX:]

    def _contact(self, worker_id: bytes) -> Worker:
        worker = self.workers.setdefault(worker_id, Worker(self.elapsed))
        worker.seen = self.elapsed
        return worker

    def _confirm(self, worker: Worker, lowest: int) -> None:
        worker.floor = max(worker.floor, lowest)
        worker.claims = {n: tokens for n, tokens in worker.claims.items() if n >= worker.floor}

    # --- producers

    def submit_task(self, command: commands.SubmitTask) -> Any:
        assert command.id is not None
        if command.id in self.tasks or command.id in self.known:
            return results.Submitted(command.id)
        if command.delay_ms and command.run_at_wall_ms is not None:
            return ErrorCode.INVALID_REQUEST
        if len(self._in(*WAITING)) >= self.depth_max:
            return ErrorCode.QUEUE_FULL
        self.queues.setdefault(command.queue, Queue())
        task = Task(command.id, command, SCHEDULED, ttl_left=command.ttl_ms)
        self.tasks[task.id] = task
        self.submitted += 1
        if command.run_at_wall_ms is not None and command.run_at_wall_ms > self.wall:
            task.due = ("wall", command.run_at_wall_ms, self._next())
        elif command.delay_ms:
            task.due = ("elapsed", self.elapsed + command.delay_ms, self._next())
        else:
            self._make_ready(task)
        return results.Submitted(command.id)

    def submit_tasks(self, command: commands.SubmitTasks) -> Any:
        return [self.submit_task(commands.SubmitTask(*fields)) for fields in command.tasks]

    def cancel_task(self, command: commands.CancelTask) -> Any:
        task = self.tasks.get(command.task_id)
        if task is None:
            return ErrorCode.NOT_FOUND
        if task.state in WAITING:
            self._end(task, CANCELLED)
        elif task.state == LEASED and command.force:
            task.outcome = None
            self._record(task, "cancelled")
            self._end(task, CANCELLED)
        elif task.state == LEASED:
            task.stop_wanted = True
        return results.CancelReply(task.state, task.state == LEASED)

    # --- workers

    def claim_task(self, command: commands.ClaimTask) -> Any:
        worker = self._contact(command.worker_id)
        self._confirm(worker, command.lowest_unanswered)
        most = min(command.max_tasks, self.batch_max)
        if worker.leaving or command.claim_number < worker.floor:
            return [], most
        if command.claim_number in worker.claims:
            tokens = worker.claims[command.claim_number]
            found = [task for task in self.held(command.worker_id) if task.token in tokens]
            return [self._shown(task) for task in found], most
        taken: list[Task] = []
        for name in command.queues:
            queue = self.queues.get(name)
            if queue is None or queue.paused:
                continue
            for task in self.ready(name):
                if len(taken) == most:
                    break
                if task.ttl_end is not None and task.ttl_end <= self.elapsed:
                    self._end(task, EXPIRED)
                    continue
                self._grant(task, command, queue)
                taken.append(task)
        if taken:
            worker.claims[command.claim_number] = [task.token for task in taken]
        return [self._shown(task) for task in taken], most

    def _grant(self, task: Task, command: commands.ClaimTask, queue: Queue) -> None:
        self._stop_ttl(task)
        self.token += 1
        task.attempt += 1
        task.state, task.token, task.worker = LEASED, self.token, command.worker_id
        task.outcome = None
        task.lease_ms = command.lease_ms or queue.lease or self.lease_ms
        timeout = task.command.timeout_ms
        task.run_end = None if timeout is None else self.elapsed + timeout
        task.deadline = 0
        self._extend(task, task.lease_ms)

    def _extend(self, task: Task, length: int) -> None:
        end = self.elapsed + length
        if task.run_end is not None:
            end = min(end, task.run_end)
        task.deadline = max(task.deadline, end)

    @staticmethod
    def _shown(task: Task) -> tuple[Any, ...]:
        return task.id, task.token, task.attempt, task.command.payload, task.lease_ms

    def _owned(self, task_id: bytes, token: int, how: str) -> Any:
        task = self.tasks.get(task_id)
        if task is None:
            return ErrorCode.NOT_FOUND
        if task.token == token and task.state == LEASED:
            return task
        if task.token == token and task.outcome is not None and task.outcome[0] == how:
            return results.OutcomeReply(task.outcome[1])
        return ErrorCode.STALE_TOKEN

    def task_result(self, command: commands.TaskResult) -> Any:
        if command.ok:
            return self._complete(command.task_id, command.token, command.result)
        task = self._owned(command.task_id, command.token, "fail")
        if isinstance(task, Task):
            self._fail(task, "failed", retry=command.retry)
            task.outcome = ("fail", task.state)
            return results.OutcomeReply(task.state)
        return task

    def task_results(self, command: commands.TaskResults) -> Any:
        return [self.task_result(commands.TaskResult(*fields)) for fields in command.outcomes]

    def ack(self, command: commands.Ack) -> Any:
        return self._complete(command.task_id, command.token, None)

    def _complete(self, task_id: bytes, token: int, result: bytes | None) -> Any:
        task = self._owned(task_id, token, "complete")
        if not isinstance(task, Task):
            return task
        if result is not None and len(result) > self.result_max:
            return ErrorCode.RESULT_TOO_LARGE
        task.result = result if task.command.keep_result else None
        self._end(task, COMPLETED)
        task.outcome = ("complete", COMPLETED)
        return results.OutcomeReply(COMPLETED)

    def _fail(self, task: Task, outcome: str, *, retry: bool) -> None:
        task.outcome = None
        self._record(task, outcome)
        if task.stop_wanted:
            self._end(task, CANCELLED)
        elif retry and task.retries < task.command.max_retries:
            task.retries += 1
            task.state, task.place, task.due = RETRYING, None, None
            if self.retry_delays(task) == (0, 0):
                task.due = ("elapsed", self.elapsed, self._next())  # even in the same `Advance`
            self._run_ttl(task)
        else:
            self._end(task, DEAD)

    def retry_delays(self, task: Task) -> tuple[int, int]:
        """Shortest and longest delay that a task which was just failed may wait."""
        most = task.command.backoff_max_ms
        delay = min(task.command.backoff_ms * 2 ** (task.retries - 1), most)
        return delay * 8 // 10, min(delay * 12 // 10, most)

    def settle(self, task: Task, due: int) -> None:
        """The machine says when a retry is due."""
        low, high = self.retry_delays(task)
        assert low <= due - self.elapsed <= high
        task.due = ("elapsed", due, self._next())

    def nack(self, command: commands.Nack) -> Any:
        task = self._owned(command.task_id, command.token, "release")
        if not isinstance(task, Task):
            return task
        delay = command.delay_ms
        if command.unknown_task:
            task.unknown += 1
            if task.unknown == self._unknown_max and not task.stop_wanted:
                self._record(task, "unknown_task")
                self._end(task, DEAD)
                task.outcome = ("release", DEAD)
                return results.OutcomeReply(DEAD)
            longest = max(delay or 1_000, 64_000)
            delay = min((delay or 1_000) * 2 ** (task.unknown - 1), longest)
        self._release(task, delay)
        return results.OutcomeReply(task.state)

    def _release(self, task: Task, delay: int) -> None:
        task.attempt -= 1
        if task.stop_wanted:
            self._end(task, CANCELLED)
        elif delay:
            task.state = SCHEDULED
            task.due = ("elapsed", self.elapsed + delay, self._next())
            self._run_ttl(task)
        else:
            self._make_ready(task)
        task.outcome = ("release", task.state)

    def extend_lease(self, command: commands.ExtendLease) -> Any:
        task = self._owned(command.task_id, command.token, "")
        if not isinstance(task, Task):
            return task
        self._contact(task.worker)
        self._extend(task, command.lease_ms or task.lease_ms)
        return results.Extended(max(task.deadline - self.elapsed, 0), task.stop_wanted)

    def heartbeat(self, command: commands.Heartbeat) -> Any:
        worker = self._contact(command.worker_id)
        self._confirm(worker, command.lowest_unanswered)
        held = {} if worker.leaving else {task.token: task for task in self.held(command.worker_id)}
        named = list(dict.fromkeys(command.tokens))
        for token in named:
            if token in held:
                self._extend(held[token], held[token].lease_ms)
        stop = [token for token in named if token in held and held[token].stop_wanted]
        return results.HeartbeatReply([token for token in named if token not in held], stop)

    def register_worker(self, command: commands.RegisterWorker) -> Any:
        worker = self._contact(command.worker_id)
        worker.interval = command.heartbeat_interval_ms
        dead_after = DEAD_AFTER_INTERVALS * worker.interval
        return results.Registered(self.lease_ms, worker.interval, dead_after)

    def deregister_worker(self, command: commands.DeregisterWorker) -> Any:
        worker = self.workers.get(command.worker_id)
        if worker is None:
            return results.Deregistered(0)
        held = self.held(command.worker_id)
        for task in held[: self._leases_per_entry]:
            self._release(task, 0)
        if len(held) <= self._leases_per_entry:
            del self.workers[command.worker_id]
        else:
            worker.leaving = True
        return results.Deregistered(len(held))

    # --- operators

    def create_queue(self, command: commands.CreateQueue) -> Any:
        wanted = (command.ageing_ms, command.lease_ms)
        queue = self.queues.setdefault(command.queue, Queue(*wanted))
        return results.Done() if (queue.ageing, queue.lease) == wanted else ErrorCode.ALREADY_EXISTS

    def pause_queue(self, command: commands.PauseQueue) -> Any:
        return self._pause(command.queue, True)

    def resume_queue(self, command: commands.ResumeQueue) -> Any:
        return self._pause(command.queue, False)

    def _pause(self, name: str, paused: bool) -> Any:
        if name not in self.queues:
            return ErrorCode.NOT_FOUND
        self.queues[name].paused = paused
        return results.Done()

    def purge_queue(self, command: commands.PurgeQueue) -> Any:
        if command.queue not in self.queues:
            return ErrorCode.NOT_FOUND
        later = [t for t in self._in(SCHEDULED, RETRYING) if t.command.queue == command.queue]
        found = self.ready(command.queue) + sorted(later, key=lambda task: task.id)
        for task in found[: command.limit]:
            self._end(task, CANCELLED)
        return results.Purged(min(len(found), command.limit), len(found) > command.limit)

    def delete_queue(self, command: commands.DeleteQueue) -> Any:
        if command.queue not in self.queues:
            return ErrorCode.NOT_FOUND
        left = self._in(READY, SCHEDULED, RETRYING, LEASED, DEAD)
        if any(task.command.queue == command.queue for task in left):
            return ErrorCode.WRONG_STATE
        del self.queues[command.queue]
        return results.Done()

    def redrive_dead(self, command: commands.RedriveDead) -> Any:
        return [self._redrive(task_id) for task_id in command.task_ids]

    def _redrive(self, task_id: bytes) -> Any:
        task = self.tasks.get(task_id)
        if task is None:
            return ErrorCode.NOT_FOUND
        if task.state != DEAD:
            return ErrorCode.WRONG_STATE
        task.retries = task.expiries = task.unknown = 0
        task.place = task.ended = None
        self._make_ready(task)
        return results.Done()

    def delete_dead(self, command: commands.DeleteDead) -> Any:
        return [self._delete(task_id) for task_id in command.task_ids]

    def _delete(self, task_id: bytes) -> Any:
        task = self.tasks.get(task_id)
        if task is None:
            return ErrorCode.NOT_FOUND
        if task.state != DEAD:
            return ErrorCode.WRONG_STATE
        self._remove(task)
        return results.Done()

    def _remove(self, task: Task) -> None:
        assert task.ended is not None
        del self.tasks[task.id]
        self.removed += 1
        until = task.ended[1] + self.window
        if until > self.elapsed:
            self.known[task.id] = until

    def configure(self, command: commands.Configure) -> Any:
        names = {
            "queue_depth_threshold": "depth_max",
            "max_batch_claim": "batch_max",
            "max_lease_expiries": "expiries_max",
            "lease_ms": "lease_ms",
            "result_size_max": "result_max",
            "retention_ms": "retention",
            "dead_retention_ms": "dead_retention",
            "dedup_window_ms": "window",
        }
        for name, value in command.settings.items():
            setattr(self, names[name], value)
        return results.Done()

    # --- time

    def advance(self, command: commands.Advance) -> Any:
        left = self._bury(command.limit)
        left = self._lose_due(left)
        for clock, now in (("elapsed", self.elapsed), ("wall", self.wall)):
            for task in self._due(clock, now)[:left]:
                self._make_ready(task)
                left -= 1
        over = [t for t in self._in(*WAITING) if t.ttl_end is not None]
        over = [task for task in over if (task.ttl_end or 0) <= self.elapsed]
        for task in sorted(over, key=lambda task: (task.ttl_end, task.id))[: max(left, 0)]:
            self._end(task, EXPIRED)
        return results.Done()

    def _due(self, clock: str, now: int) -> list[Task]:
        waiting = [t for t in self._in(SCHEDULED, RETRYING) if t.due is not None]
        found = [t for t in waiting if t.due is not None and t.due[0] == clock and t.due[1] <= now]
        return sorted(found, key=lambda task: task.due or ("", 0, 0))

    def _bury(self, left: int) -> int:
        while left > 0:
            dead = [(w.death, name) for name, w in self.workers.items() if w.death <= self.elapsed]
            if not dead:
                break
            name = min(dead)[1]
            worker = self.workers[name]
            for task in self.held(name)[:left]:
                left -= 1
                if worker.leaving:
                    self._release(task, 0)
                else:
                    self._lose(task, "worker_dead")
            if not self.held(name):
                left -= 1 + len(worker.claims)
                del self.workers[name]
        return max(left, 0)

    def _lose_due(self, left: int) -> int:
        while left > 0:
            due = [t for t in self._in(LEASED) if t.deadline <= self.elapsed]
            if not due:
                break
            task = min(due, key=lambda task: (task.deadline, task.token))
            if task.run_end is not None and task.run_end <= self.elapsed:
                self._fail(task, "timeout", retry=True)
            else:
                self._lose(task, "lease_expired")
            left -= 1
        return left

    def _lose(self, task: Task, why: str) -> None:
        task.expiries += 1
        task.outcome = None
        self._record(task, why)
        if task.stop_wanted:
            self._end(task, CANCELLED)
        elif task.expiries > self.expiries_max:
            self._end(task, DEAD)
        else:
            self._make_ready(task)

    def retain(self, command: commands.Retain) -> Any:
        finished = self._past((COMPLETED, CANCELLED, EXPIRED), self.retention)
        for task in finished[: command.limit]:
            self._remove(task)
        for task in self._past((DEAD,), self.dead_retention)[: command.limit]:
            self._remove(task)
        over = sorted(
            (until, known) for known, until in self.known.items() if until <= self.elapsed
        )
        for _, known in over[: command.limit]:
            del self.known[known]
        return results.Done()

    def _past(self, states: tuple[int, ...], age: int) -> list[Task]:
        """Finished tasks in the order in which they ended, dead ones of a moment in that of ids."""
        found = [t for t in self._in(*states) if t.ended and t.ended[0] <= self.wall - age]
        if states == (DEAD,):
            return sorted(found, key=lambda task: ((task.ended or (0, 0))[0], task.id))
        return sorted(found, key=lambda task: task.ending)
