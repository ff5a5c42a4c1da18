"""How the scripts show replies and the state: short, and only what is not as usual."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from taskq import commands, results
from taskq.errors import Refusal
from taskq.machine import keys
from taskq.machine.due import NEVER
from taskq.machine.machine import Machine
from taskq.machine.view import MemoryView
from taskq.results import TaskState

UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))


def name_of(data: bytes) -> str:
    """The word that an id was made from."""
    word = data.rstrip(b"\0")
    return word.decode() if word.isalnum() else data.hex()


def time_text(ms: int) -> str:
    """5000 -> 5s; the largest unit that divides it."""
    if ms >= NEVER:
        return "never"
    for unit, letter in UNITS:
        if ms and ms % unit == 0:
            return f"{ms // unit}{letter}"
    return f"{ms}ms"


def state_text(state: int) -> str:
    """3 -> leased."""
    return TaskState(state).name.lower()


def data_text(data: bytes) -> str:
    """Short bytes as text, long ones by their size."""
    return data.decode() if len(data) <= 20 else f"{len(data)} bytes"


def show_result(command: Any, reply: Any) -> list[str]:
    """The lines for the reply to a command."""
    if isinstance(reply, results.BatchReply):
        lines = []
        for good, answer in reply.answers:
            assert good == (not isinstance(answer, Refusal))
            lines += show_result(command, answer)
        return lines
    if isinstance(reply, Refusal):
        again = f" (again after {time_text(reply.retry_after_ms)})" if reply.retry_after_ms else ""
        return [f"{reply.code}: {_readable(reply.message)}{again}"]
    if isinstance(reply, results.Claimed):
        return _claimed(command, reply)
    return [_short(reply)]


def _readable(message: str) -> str:
    """Ids in messages are UUIDs; the scripts call them by their words."""
    words = message.split(" ")
    return " ".join(name_of(UUID(w).bytes) if _is_id(w) else w for w in words)


def _is_id(word: str) -> bool:
    return len(word) == 36 and all(letter in "-0123456789abcdef" for letter in word)


def _claimed(command: commands.ClaimTask, reply: results.Claimed) -> list[str]:
    lines = [_claimed_task(task) for task in reply.tasks] or ["nothing"]
    if reply.max_tasks != command.max_tasks:
        lines.append(f"at most {reply.max_tasks}")
    return lines


def _claimed_task(task: results.ClaimedTask) -> str:
    parts = [name_of(task.task_id), f"token={task.token}"]
    if task.attempt != 1:
        parts.append(f"attempt={task.attempt}")
    if task.lease_ms != 30_000:
        parts.append(f"lease={time_text(task.lease_ms)}")
    if task.timeout_ms is not None:
        parts.append(f"timeout={time_text(task.timeout_ms)}")
    if task.name:
        parts.append(f"name={task.name}")
    if task.payload:
        parts.append(f"payload={data_text(task.payload)}")
    parts += [f"{key}:{value}" for key, value in task.headers.items()]
    return " ".join(parts)


def _short(reply: Any) -> str:
    match reply:
        case results.Submitted():
            return f"submitted {name_of(reply.task_id)}"
        case results.OutcomeReply():
            return state_text(reply.state)
        case results.Extended():
            return f"{time_text(reply.lease_ms)} left{', stop' * reply.cancel_requested}"
        case results.HeartbeatReply():
            return f"invalid={reply.invalid} cancel={reply.cancel}"
        case results.Registered():
            every = time_text(reply.heartbeat_interval_ms)
            return f"every {every}, dead after {time_text(reply.dead_after_ms)}"
        case results.Deregistered():
            return f"released {reply.released}"
        case results.CancelReply():
            return state_text(reply.state) + ", asked to stop" * reply.requested
        case results.Done():
            return "ok"
        case results.Purged():
            return f"cancelled {reply.cancelled}{', more' * reply.more}"
    raise AssertionError(reply)


def show_question(machine: Machine, view: MemoryView, words: Any, wall_start: int) -> list[str]:
    """The lines for a question of a script."""
    shown: list[str]
    match words.verb:
        case "status":
            question = commands.QueryStatus(words.next().encode().ljust(16, b"\0"))
            answer = machine.ask(question)
            shown = (
                show_result(question, answer)
                if isinstance(answer, Refusal)
                else _task(answer, wall_start)
            )
        case "tasks" | "dead":
            shown = _page(machine, words)
        case "queues":
            shown = [_queue(queue) for queue in machine.ask(commands.ListQueues()).queues]
        case "workers":
            shown = [_worker(worker) for worker in machine.ask(commands.ListWorkers()).workers]
        case "stats":
            shown = _stats(machine.ask(commands.GetStats()))
        case "keys":
            shown = _keys(view, words.next())
        case "next":
            elapsed, wall = machine.next_due()
            wall_text = time_text(wall if wall >= NEVER else wall - wall_start)
            shown = [f"elapsed {time_text(elapsed)} wall {wall_text}"]
        case "retention":
            when, now = machine.next_retention()
            text = time_text(when if when >= NEVER else when - wall_start)
            shown = [f"wall {text}{', now' * now}"]
        case "ready":
            queue = words.next()
            assert machine.has_ready([queue]) == (machine.ready_count(queue) > 0)
            shown = [str(machine.ready_count(queue))]
        case "final":
            shown = [str(machine.is_final(words.next().encode().ljust(16, b"\0")))]
        case _:
            raise AssertionError(f"no such line: {words.verb}")
    words.done()
    return shown or ["none"]


def _page(machine: Machine, words: Any) -> list[str]:
    state = words.named.pop("state", None)
    queue = words.named.pop("queue", None)
    limit = int(words.named.pop("limit", "100"))
    lines: list[str] = []
    after = None
    while True:
        if words.verb == "dead":
            page = machine.ask(commands.ListDead(queue, after, limit))
        else:
            number = None if state is None else TaskState[state.upper()].value
            page = machine.ask(commands.ListTasks(queue, number, after, limit))
        lines += [f"{name_of(task.task_id)} {state_text(task.state)}" for task in page.tasks]
        if page.after is None:
            return lines
        after = page.after
        lines.append("(next page)")


def _task(task: results.TaskView, wall_start: int) -> list[str]:
    parts = [name_of(task.task_id), state_text(task.state), f"queue={task.queue}"]
    for name in ("name", "priority", "attempt", "retries", "lease_expiries", "token"):
        value = getattr(task, name)
        if value and (name, value) != ("priority", 150):
            parts.append(f"{name}={value}")
    if task.due_wall_ms:
        parts.append(f"due={time_text(task.due_wall_ms - wall_start)}")
    if task.cancel_requested:
        parts.append("asked to stop")
    if task.has_result:
        parts.append(f"result={data_text(task.result or b'')}")
    if task.reason:
        parts.append(f'reason="{task.reason[:60]}"')
    lines = [" ".join(parts)]
    for attempt in task.attempts:
        worker = name_of(bytes.fromhex(attempt.worker))
        error = f' "{attempt.error}"' if len(attempt.error) <= 40 else f" {len(attempt.error)}"
        lines.append(f"  {attempt.number} {worker} {attempt.outcome}{error * bool(attempt.error)}")
    return lines


def _queue(queue: results.QueueView) -> str:
    parts = [queue.name]
    if queue.paused:
        parts.append("paused")
    if queue.ageing_ms:
        parts.append(f"ageing={time_text(queue.ageing_ms)}")
    if queue.lease_ms != 30_000:
        parts.append(f"lease={time_text(queue.lease_ms)}")
    for name, count in zip(queue._fields[4:], queue[4:], strict=True):
        if count:
            parts.append(f"{name}={count}")
    return " ".join(parts)


def _worker(worker: results.WorkerView) -> str:
    parts = [name_of(worker.worker_id), worker.name, f"concurrency={worker.concurrency}"]
    parts += [f"seen={time_text(worker.seen_ms)} ago", f"leased={worker.leased}"]
    parts += [f"cpu={worker.cpu_permille}", f"memory={worker.memory_size}"]
    return " ".join(part for part in parts if part)


def _stats(stats: results.Stats) -> list[str]:
    states = [f"{name}={count}" for name, count in stats.states.items() if count]
    totals = [f"{name}={count}" for name, count in stats.totals.items() if count]
    sizes = (stats.waiting_size, stats.finished_size, stats.dead_size)
    sized = [
        f"{name}={size}"
        for name, size in zip(("waiting", "finished", "dead"), sizes, strict=True)
        if size
    ]
    return [
        "now: " + " ".join(states),
        "ever: " + " ".join(totals),
        "bytes: " + " ".join(sized),
    ]


def _keys(view: MemoryView, family: str) -> list[str]:
    """The keys of a family: `r q 105 7` for a ready key."""
    lines = []
    for key, _ in view.scan(family.encode(), None, 10_000):
        rest = key[1:]
        letter = family.encode()
        if letter in (keys.READY, keys.WAITING):
            queue, _, rest = rest.partition(b"\0")
            place = keys.from_place(rest) if letter == keys.READY else (name_of(rest),)
            lines.append(f"{family} {queue.decode()} " + " ".join(map(str, place)))
        elif letter in (keys.DUE_ELAPSED, keys.DUE_WALL):
            lines.append(f"{family} {keys.from_u64(rest[:8])} {keys.from_u64(rest[8:])}")
        elif letter in (keys.TTL, keys.FINISHED, keys.DEAD, keys.FORGET_DUE):
            lines.append(f"{family} {keys.from_u64(rest[:8])} {name_of(rest[8:])}")
        elif letter == keys.ATTEMPT:
            lines.append(f"{family} {name_of(rest[:16])} {int.from_bytes(rest[16:], 'big')}")
        elif letter == keys.CLAIM:
            lines.append(f"{family} {name_of(rest[:16])} #{keys.from_u64(rest[16:])}")
        else:
            lines.append(f"{family} {name_of(rest)}")
    return lines
