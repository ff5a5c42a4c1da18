"""The row about other queues: keys that are limited to `ours.*` reach for tasks of `theirs.mail`.

Somebody else's tasks are in every state there: waiting, leased (with a token that the attacker has
come to know), dead, and so many that pages of lists end among them. A task of another queue must be
told of as one that does not exist. The attacker knows somebody else's workers by their ids, too,
and acts under their names.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, NamedTuple

from chaos.attack.samples import QUEUE
from chaos.attack.scene import Scene
from chaos.attack.stranger import Stranger
from chaos.attack.tries import Tries
from taskq import commands
from taskq.errors import Refusal
from taskq.limits import BATCH_COUNT_MAX, LIST_SCAN_MAX
from taskq.results import BatchReply, TaskState

OURS = "ours.mail"
NONE_OF_OURS = "ours.none"
THEIR_OTHER = "theirs.sms"
THEIR_MANY = "theirs.many"
# More than a page of a list looks at.
MANY = 3 * LIST_SCAN_MAX
FAR = (1 << 63) - 1
# A claim that waits meanwhile: long enough for what the others do.
WAIT_MS = 1_000
REFUSED = ("PERMISSION_DENIED", "NOT_FOUND", "INVALID_REQUEST")


class Theirs(NamedTuple):
    """Tasks of `theirs.mail`, by their ids; the lease's token and worker."""

    waiting: bytes
    leased: bytes
    dead: bytes
    token: int
    worker: bytes

    @property
    def ids(self) -> tuple[bytes, bytes, bytes]:
        return self.waiting, self.leased, self.dead


async def other_queue(scene: Scene, tries: Tries) -> None:
    """By name, in batches and lists, by task id, by token, by worker; asked of each node."""
    async with await _holder(scene, scene.client_ports[0], "admin") as owner:
        theirs = await _fill(owner)
        many = await _fill_pages(owner)
        for port in scene.client_ports:
            async with await _holder(scene, port, "our_producer") as producer:
                await _refused(producer, tries, _as_producer(theirs))
                await _looks(producer, tries, theirs)
                await _walks(producer, tries, many)
            async with await _holder(scene, port, "our_worker") as worker:
                await _refused(worker, tries, _as_worker(theirs))
                await _is_robbed(owner, worker, tries)
                await _is_stopped(owner, worker, tries)
            async with await _holder(scene, port, "our_admin") as admin:
                await _refused(admin, tries, _as_admin(theirs))
                await _looks(admin, tries, theirs)
        await _is_untouched(owner, theirs)
        while (await owner.ask(commands.PurgeQueue(THEIR_MANY))).more:
            pass


async def _holder(scene: Scene, port: int, holder: str) -> Stranger:
    stranger = await Stranger.connect(port)
    refusal = await stranger.hello(scene.keys[holder])
    assert refusal is None, refusal
    return stranger


async def _fill(owner: Stranger) -> Theirs:
    ids, worker = [os.urandom(16) for _ in range(3)], os.urandom(16)
    dead, leased, waiting = ids
    await owner.ask(commands.SubmitTask(dead, QUEUE, max_retries=0))
    (task,) = (await owner.ask(commands.ClaimTask(worker, 1, 1, [QUEUE]))).tasks
    await owner.ask(commands.TaskResult(dead, task.token, False, None, "no"))
    await owner.ask(commands.SubmitTask(leased, QUEUE, payload=b"secret"))
    claim = commands.ClaimTask(worker, 2, 2, [QUEUE], 1, 0, 600_000)
    (task,) = (await owner.ask(claim)).tasks
    await owner.ask(commands.SubmitTask(waiting, QUEUE, payload=b"secret"))
    return Theirs(waiting, leased, dead, task.token, worker)


async def _fill_pages(owner: Stranger) -> list[bytes]:
    """Ids of waiting tasks of theirs, more than a page looks at."""
    ids = [os.urandom(16) for _ in range(MANY)]
    for start in range(0, MANY, BATCH_COUNT_MAX):
        batch: list[Any] = [[one, THEIR_MANY] for one in ids[start : start + BATCH_COUNT_MAX]]
        await owner.ask(commands.SubmitTasks(batch))
    return ids


def _as_producer(theirs: Theirs) -> list[Any]:
    mixed: list[Any] = [list(commands.SubmitTask(os.urandom(16), queue)) for queue in (OURS, QUEUE)]
    asked: list[Any] = [commands.SubmitTask(os.urandom(16), QUEUE)]
    asked += [commands.SubmitTask(os.urandom(16), name) for name in ("ours", "Ours.mail", "*")]
    asked += [commands.SubmitTasks([mixed[1]]), commands.SubmitTasks(mixed)]
    for task_id in theirs.ids:
        asked += [commands.QueryStatus(task_id), commands.CancelTask(task_id)]
        asked += [commands.QueryStatus(task_id, 1_000)]
    asked += [commands.ListTasks(QUEUE), commands.ListDead(QUEUE)]
    return asked


def _as_worker(theirs: Theirs) -> list[Any]:
    own = os.urandom(16)
    leased, token = theirs.leased, theirs.token
    forged: list[Any] = [list(commands.TaskResult(leased, token, True, b"forged"))]
    return [
        commands.ClaimTask(own, 1, 1, [QUEUE]),
        commands.ClaimTask(own, 2, 2, [OURS, QUEUE]),
        commands.ClaimTask(own, 3, 3, ["*"]),
        commands.TaskResult(leased, token, True, b"forged"),
        commands.TaskResults(forged),
        commands.Ack(leased, token),
        commands.Nack(leased, token),
        commands.ExtendLease(leased, token, 1_000),
    ]


async def _is_robbed(owner: Stranger, worker: Stranger, tries: Tries) -> None:
    """Their worker's claims, repeated before and after: with luck the answer is theirs."""
    victim = os.urandom(16)
    early = commands.ClaimTask(victim, 1, 1, [NONE_OF_OURS], 1, WAIT_MS)
    waiting = asyncio.create_task(worker.ask(early))
    await asyncio.sleep(WAIT_MS / 4_000)
    task = await _claimed_of_theirs(owner, victim, 1)
    answers = [await waiting, await worker.ask(early._replace(wait_ms=0))]
    for answer in answers:
        empty = isinstance(answer, Refusal) or not answer.tasks
        tries.judge(empty, "nothing", f"a claim under their worker's id: {answer}")
    await owner.ask(commands.Ack(task.task_id, task.token))


async def _is_stopped(owner: Stranger, worker: Stranger, tries: Tries) -> None:
    """After each act under its name their worker keeps its lease, and claims on."""
    victim = os.urandom(16)
    task = await _claimed_of_theirs(owner, victim, 1)
    for number, act in enumerate(
        (
            commands.ClaimTask(victim, FAR, FAR, [NONE_OF_OURS]),
            commands.Heartbeat(victim, [task.token], FAR),
            commands.RegisterWorker(victim, "", 1, 100),
            commands.DeregisterWorker(victim),
        ),
        start=2,
    ):
        await worker.ask(act)
        beat = await owner.ask(commands.Heartbeat(victim, [task.token]))
        goes_on = not isinstance(beat, Refusal) and task.token not in beat.invalid
        other = await _claimed_of_theirs(owner, victim, number)
        if other is not None:
            await owner.ask(commands.Ack(other.task_id, other.token))
        name = type(act).__name__
        tries.judge(goes_on and other is not None, "no effect", f"{name} stops their worker")
    await owner.ask(commands.Ack(task.task_id, task.token))


async def _claimed_of_theirs(owner: Stranger, victim: bytes, number: int) -> Any:
    """A new task of theirs, which their worker claims; None where it gets none."""
    await owner.ask(commands.SubmitTask(os.urandom(16), THEIR_OTHER, payload=b"secret"))
    claim = commands.ClaimTask(victim, number, number, [THEIR_OTHER], 1, 0, 600_000)
    answer = await owner.ask(claim)
    return None if isinstance(answer, Refusal) or not answer.tasks else answer.tasks[0]


def _as_admin(theirs: Theirs) -> list[Any]:
    return [
        commands.CreateQueue(QUEUE),
        commands.PauseQueue(QUEUE),
        commands.PurgeQueue(QUEUE),
        commands.DeleteQueue(QUEUE),
        commands.RedriveDead([theirs.dead]),
        commands.DeleteDead([theirs.dead]),
        commands.CancelTask(theirs.waiting),
        commands.TransferLeadership(""),
    ]


async def _refused(stranger: Stranger, tries: Tries, asked: list[Any]) -> None:
    """Each is, and what is asked of a task as it would be of one that does not exist."""
    for one in asked:
        answer = await stranger.ask(one)
        # In a batch the last one is theirs.
        code = _code(answer.answers[-1] if isinstance(answer, BatchReply) else answer)
        tries.judge(code in REFUSED, code, f"{type(one).__name__}: {code or answer}")
    absent = await stranger.ask(commands.QueryStatus(bytes(16)))
    there = [await stranger.ask(one) for one in asked if type(one) is commands.QueryStatus]
    for answer in there:
        tries.judge(_code(answer) == _code(absent), "told as absent", f"told apart: {answer}")


def _code(answer: Any) -> str:
    """Why it was refused, or empty."""
    if isinstance(answer, list):  # a member of a batch
        accepted, value = answer
        return "" if accepted else str(value[0])
    return answer.code if isinstance(answer, Refusal) else ""


async def _looks(stranger: Stranger, tries: Tries, theirs: Theirs) -> None:
    """Lists that name no queue show nothing of theirs."""
    shown = (QUEUE, *(task_id.hex() for task_id in theirs.ids), theirs.worker.hex())
    for one in (
        commands.ListTasks(),
        commands.ListDead(),
        commands.ListQueues(),
        commands.ListWorkers(),
        commands.GetStats(),
    ):
        answer = await stranger.ask(one)
        if isinstance(answer, Refusal):
            tries.refuse(answer.code)
            continue
        text = _spelled(answer)
        found = [word for word in shown if word in text]
        tries.judge(not found, "not shown", f"{type(one).__name__} shows {found}")


async def _walks(stranger: Stranger, tries: Tries, many: list[bytes]) -> None:
    """Lists from page to page, and from where the stranger likes: no cursor tells an id."""
    starts = [None, bytes(16), many[0], *(bytes([first]) * 16 for first in range(0, 256, 51))]
    for after in starts:
        page = await stranger.ask(commands.ListTasks(after=after))
        while not isinstance(page, Refusal) and page.after is not None:
            told = [one for one in many if one in page.after or page.after in one]
            tries.judge(not told, "not told", f"a cursor tells of {len(told)} tasks of theirs")
            page = await stranger.ask(commands.ListTasks(after=page.after))
        if isinstance(page, Refusal):
            tries.refuse(page.code)


def _spelled(value: Any) -> str:
    """All of it as text, bytes as hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return " ".join(map(_spelled, value))
    return str(value)


async def _is_untouched(owner: Stranger, theirs: Theirs) -> None:
    """Their tasks are as they were; then they end."""
    states = [(await owner.ask(commands.QueryStatus(one))).state for one in theirs.ids]
    expected = [TaskState.READY, TaskState.LEASED, TaskState.DEAD]
    assert states == expected, f"their tasks are in other states: {states}"
    await owner.ask(commands.Ack(theirs.leased, theirs.token))
    await owner.ask(commands.CancelTask(theirs.waiting))
