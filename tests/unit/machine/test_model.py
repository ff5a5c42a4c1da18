"""The machine against the model: any commands, in any order, from several workers and producers,
with repeats, old tokens, jumps of both clocks, small limits, and restarts in between.

After each step: answers equal the model's, every task is what the model says, the view is whole,
and a second machine that was restarted meanwhile has the same bytes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskq import commands, results
from taskq.errors import Refusal
from taskq.machine import advance, due, finished, keys, ready, release
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Machine
from taskq.machine.record import unpack, unpack_raw
from taskq.machine.task import BY_WALL, CONTENT_SIZE_IN_HEAD, NO_DUE, NO_TTL
from taskq.machine.task import Task as Head
from taskq.machine.view import MemoryView
from tests.unit.machine.model import DEAD, LEASED, RETRYING, Model, Task
from tests.unit.machine.whole import check_whole, leases_of, tasks_of

IDS = [bytes((number,)) * 16 for number in range(1, 10)]
WORKERS = [bytes((number,)) * 16 for number in (201, 202, 203)]
QUEUES = ["a", "b", "aged"]
LEASES_PER_ENTRY = 3
UNKNOWN_MAX = 2

ids, workers = st.sampled_from(IDS), st.sampled_from(WORKERS)
queues = st.sampled_from(QUEUES)
limits = st.sampled_from([1, 1, 2, 3, 1_000])
leases = st.sampled_from([None, None, 1_000, 40_000])
delays = st.sampled_from([0, 0, 0, 1, 500, 3_000])
submits = st.builds(
    commands.SubmitTask,
    ids,
    queues,
    payload=st.sampled_from([b"", b"x", b"payload"]),
    priority=st.sampled_from([0, 50, 150, 150, 150, 255]),
    delay_ms=delays,
    run_at_wall_ms=st.sampled_from([None, None, None, 0, 2_000, 50_000]),
    ttl_ms=st.sampled_from([None, None, 1, 1_000, 30_000]),
    timeout_ms=st.sampled_from([None, None, 1, 2_000, 35_000]),
    max_retries=st.sampled_from([0, 1, 3]),
    # Never a delay whose jitter may or may not be nothing: the model could not follow.
    backoff_ms=st.sampled_from([0, 10, 1_000]),
    backoff_max_ms=st.sampled_from([0, 1_500, 60_000]),
    headers=st.sampled_from([{}, {"traceparent": "00-é"}]),
    keep_result=st.booleans(),
)
steps = st.sampled_from([0, 0, 1, 999, 1_000, 5_000, 30_000])


class AgainstModel(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(advance, "ADVANCE_LIMIT", LEASES_PER_ENTRY)
        self.patch.setattr(release, "UNKNOWN_RELEASES_MAX", UNKNOWN_MAX)
        self.views = [MemoryView(), MemoryView()]
        self.machines = [Machine(view) for view in self.views]
        self.model = Model(leases_per_entry=LEASES_PER_ENTRY, unknown_max=UNKNOWN_MAX)

    def teardown(self) -> None:
        self.patch.undo()

    @initialize(refill=st.sampled_from([1, 2, 3, 2_048]))
    def begin(self, refill: int) -> None:
        for module in (ready, due, finished):
            self.patch.setattr(module, "REFILL_COUNT", refill)
        self.patch.setattr(due, "WINDOW_COUNT_MAX", 2 * refill)
        self.patch.setattr(ready, "FIRST_COUNT", min(refill, ready.FIRST_COUNT))
        self.patch.setattr(ready, "TOTAL_COUNT", 2 * refill)
        self.apply(commands.CreateQueue("aged", 1_000, 20_000))

    def apply(self, command: Any) -> None:
        """Both machines carry out the command, and the model says what is right."""
        entry = encode_entry(self.model.elapsed, self.model.wall, [command])
        replies = []
        for machine in self.machines:
            applied = machine.apply(entry)
            replies.append(plain(machine.reply(applied.results[0])))
        verb = re.sub(r"(?<!^)(?=[A-Z])", "_", type(command).__name__).lower()
        expected = plain(getattr(self.model, verb)(command))
        assert replies == [expected, expected], command
        self.settle()

    def settle(self) -> None:
        """Tells the model the jitter of retries, in the order in which they were scheduled."""
        unknown = [t for t in self.model.tasks.values() if t.state == RETRYING and t.due is None]
        heads = {task.id: self.head(task.id) for task in unknown}
        for task in sorted(unknown, key=lambda task: heads[task.id].due_sequence):
            self.model.settle(task, heads[task.id].due_ms)

    def head(self, task_id: bytes) -> Head:
        return next(task for task in tasks_of(self.views[0]) if task.id == task_id)

    def token(self, data: st.DataObject, task_id: bytes) -> int:
        """The task's own token mostly; else one that is old, another's, or not yet given."""
        task = self.model.tasks.get(task_id)
        own = 0 if task is None else task.token
        return data.draw(st.sampled_from([own, own, own]) | st.integers(0, self.model.token + 1))

    # --- clocks

    @rule(step=steps, jump=st.sampled_from([0, 0, 0, 60_000]))
    def tick(self, step: int, jump: int) -> None:
        self.model.elapsed += step
        self.model.wall += step + jump

    @rule(limit=limits, step=steps)
    def advance(self, limit: int, step: int) -> None:
        self.tick(step, 0)
        self.apply(commands.Advance(limit))

    @rule(limit=limits, step=st.sampled_from([0, 700_000]), jump=st.sampled_from([0, 10**9]))
    def retain(self, limit: int, step: int, jump: int) -> None:
        self.tick(step, jump)
        self.apply(commands.Retain(limit))

    @rule()
    def restart(self) -> None:
        self.machines[1] = Machine(self.views[1])

    # --- producers

    @rule(command=submits)
    def submit(self, command: commands.SubmitTask) -> None:
        self.apply(command)

    @rule(members=st.lists(submits, min_size=1, max_size=5))
    def submit_many(self, members: list[commands.SubmitTask]) -> None:
        self.apply(commands.SubmitTasks([list(member) for member in members]))

    @rule(task_id=ids, force=st.booleans())
    def cancel(self, task_id: bytes, force: bool) -> None:
        self.apply(commands.CancelTask(task_id, force))

    # --- workers

    @rule(
        worker=workers,
        number=st.integers(1, 30),
        back=st.integers(0, 3),
        names=st.lists(queues, min_size=1, max_size=4),
        most=st.integers(1, 12),
        lease=leases,
    )
    def claim(
        self, worker: bytes, number: int, back: int, names: list[str], most: int, lease: int | None
    ) -> None:
        known = self.model.workers.get(worker)
        floor = 1 if known is None else known.floor
        number = min(number, floor + 3)
        lowest = max(number - back, 1)
        self.apply(commands.ClaimTask(worker, number, lowest, names, most, 0, lease))

    @rule(data=st.data(), task_id=ids, result=st.sampled_from([None, b"", b"1234", b"12345"]))
    def complete(self, data: st.DataObject, task_id: bytes, result: bytes | None) -> None:
        token = self.token(data, task_id)
        if result is None and data.draw(st.booleans()):
            self.apply(commands.Ack(task_id, token))
        else:
            self.apply(commands.TaskResult(task_id, token, True, result))

    @rule(data=st.data(), task_id=ids, retry=st.booleans())
    def fail(self, data: st.DataObject, task_id: bytes, retry: bool) -> None:
        token = self.token(data, task_id)
        self.apply(commands.TaskResult(task_id, token, False, None, "why\nit failed", retry))

    @rule(data=st.data(), members=st.lists(st.tuples(ids, st.booleans()), min_size=1, max_size=4))
    def outcomes(self, data: st.DataObject, members: list[tuple[bytes, bool]]) -> None:
        outcomes = [[task_id, self.token(data, task_id), ok] for task_id, ok in members]
        self.apply(commands.TaskResults(outcomes))  # type: ignore[arg-type]  # as off the wire

    @rule(data=st.data(), task_id=ids, delay=delays, unknown=st.booleans())
    def release(self, data: st.DataObject, task_id: bytes, delay: int, unknown: bool) -> None:
        self.apply(commands.Nack(task_id, self.token(data, task_id), delay, unknown))

    @rule(data=st.data(), worker=workers, queue=queues, delay=delays)
    def release_unknown(self, data: st.DataObject, worker: bytes, queue: str, delay: int) -> None:
        """Everything due is claimed by a worker that knows none of it; the last may be a repeat."""
        self.tick(64_000, 0)
        self.apply(commands.Advance(1_000))
        self.apply(commands.ResumeQueue(queue))
        known = self.model.workers.get(worker)
        number = 1 if known is None else max([known.floor, *known.claims]) + 1
        self.apply(commands.ClaimTask(worker, number, number, [queue], 12))
        for task in self.model.held(worker):
            nack = commands.Nack(task.id, task.token, delay, True)
            if data.draw(st.booleans()):
                self.apply(commands.CancelTask(task.id))
            for _ in range(data.draw(st.integers(0, 2))):
                self.apply(nack)

    @rule(data=st.data(), task_id=ids, lease=leases)
    def extend(self, data: st.DataObject, task_id: bytes, lease: int | None) -> None:
        self.apply(commands.ExtendLease(task_id, self.token(data, task_id), lease))

    @rule(data=st.data(), worker=workers, lowest=st.integers(1, 4))
    def heartbeat(self, data: st.DataObject, worker: bytes, lowest: int) -> None:
        held = [task.token for task in self.model.held(worker)]
        others = data.draw(st.lists(st.integers(0, self.model.token + 1), max_size=3))
        named = data.draw(st.permutations(held))[: data.draw(st.integers(0, len(held)))]
        self.apply(commands.Heartbeat(worker, [*others, *named], lowest))

    @rule(worker=workers, interval=st.sampled_from([100, 15_000, 60_000]))
    def register(self, worker: bytes, interval: int) -> None:
        self.apply(commands.RegisterWorker(worker, "w", 1, interval))

    @rule(worker=workers)
    def deregister(self, worker: bytes) -> None:
        self.apply(commands.DeregisterWorker(worker))

    # --- operators

    @rule(queue=queues, paused=st.sampled_from([True, False, False]))
    def pause(self, queue: str, paused: bool) -> None:
        self.apply(commands.PauseQueue(queue) if paused else commands.ResumeQueue(queue))

    @rule(queue=queues, limit=limits)
    @precondition(lambda self: len(self.model.tasks) > 4)
    def purge(self, queue: str, limit: int) -> None:
        self.apply(commands.PurgeQueue(queue, limit))

    @rule(queue=queues, emptied=st.booleans())
    def drop(self, queue: str, emptied: bool) -> None:
        """As it is, or after all in it has ended: most queues are never empty by themselves."""
        if emptied:
            mine = [t for t in self.model.tasks.values() if t.command.queue == queue]
            self.apply(commands.PurgeQueue(queue, 1_000))
            for task in mine:
                if task.state == LEASED:
                    self.apply(commands.CancelTask(task.id, True))
                elif task.state == DEAD:
                    self.apply(commands.DeleteDead([task.id]))
        self.apply(commands.DeleteQueue(queue))

    @rule(task_ids=st.lists(ids, min_size=1, max_size=3))
    def redrive(self, task_ids: list[bytes]) -> None:
        self.apply(commands.RedriveDead(task_ids))

    @rule(task_ids=st.lists(ids, min_size=1, max_size=3))
    def delete(self, task_ids: list[bytes]) -> None:
        self.apply(commands.DeleteDead(task_ids))

    @rule(
        name_and_value=st.sampled_from(
            [
                *[("queue_depth_threshold", 3), ("queue_depth_threshold", 100_000)],
                *[("max_batch_claim", 2), ("max_batch_claim", 10), ("max_lease_expiries", 0)],
                *[("max_lease_expiries", 2), ("lease_ms", 7_000), ("result_size_max", 4)],
                *[("retention_ms", 0), ("retention_ms", 10**8), ("dead_retention_ms", 1_000)],
                *[("dedup_window_ms", 0), ("dedup_window_ms", 600_000)],
            ]
        )
    )
    def configure(self, name_and_value: tuple[str, int]) -> None:
        self.apply(commands.Configure(dict([name_and_value])))

    # --- what must hold after each step

    @invariant()
    def the_same_bytes_with_and_without_restarts(self) -> None:
        assert self.views[0].values == self.views[1].values

    @invariant()
    def the_view_is_whole_and_counts_add_up(self) -> None:
        check_whole(self.views[0])
        self.machines[0].check()
        stats = self.machines[0].ask(commands.GetStats())
        totals = stats.totals
        assert (totals["submitted"], totals["removed"]) == (
            self.model.submitted,
            self.model.removed,
        )
        assert totals["claimed"] == self.model.token

    @invariant()
    def every_task_is_what_the_model_says(self) -> None:
        values = self.views[0].values
        assert {key[1:] for key in values if key[:1] == keys.TASK} == set(self.model.tasks)
        assert {key[1:] for key in values if key[:1] == keys.FORGOTTEN} == set(self.model.known)
        assert {key[1:] for key in values if key[:1] == keys.WORKER} == set(self.model.workers)
        for task in self.model.tasks.values():
            assert seen(self.head(task.id), self.views[0]) == said(task)

    @invariant()
    def what_is_due_is_known(self) -> None:
        tasks = self.model.tasks.values()
        due = [w.death for w in self.model.workers.values()]
        due += [task.deadline for task in tasks if task.state == LEASED]
        due += [task.due[1] for task in tasks if task.due is not None and task.due[0] == "elapsed"]
        due += [task.ttl_end for task in tasks if task.ttl_end is not None]
        wall = [task.due[1] for task in tasks if task.due is not None and task.due[0] == "wall"]
        for machine in self.machines:
            never = (1 << 63) - 1
            assert machine.next_due() == (min(due, default=never), min(wall, default=never))


def plain(reply: Any) -> Any:
    """A reply as the model says it."""
    if isinstance(reply, Refusal):
        return reply.code
    if isinstance(reply, results.BatchReply):
        return [plain(answer) for _, answer in reply.answers]
    if isinstance(reply, results.Claimed):
        found = [(t.task_id, t.token, t.attempt, t.payload, t.lease_ms) for t in reply.tasks]
        return found, reply.max_tasks
    return reply


def seen(head: Head, view: MemoryView) -> dict[str, Any]:
    """A task in the machine's view."""
    records = [record for key, record in view.values.items() if key[:1] == keys.CLAIM]
    leases = {lease[1]: lease for record in records for lease in leases_of(record)}
    lease = leases.get(head.id)
    found = view.scan(keys.ATTEMPT + head.id, None, 100)
    ended = head.state > RETRYING
    return {
        "state": head.state,
        "counts": (head.attempt, head.retries, head.expiries, head.unknown_releases, head.token),
        "due": None
        if head.due_clock == NO_DUE
        else ("wall" if head.due_clock == BY_WALL else "elapsed", head.due_ms),
        "ttl_end": head.ttl_deadline or None,
        "ttl_left": head.ttl_left if head.state == LEASED and head.ttl_left != NO_TTL else None,
        "deadline": None if lease is None else lease[3],
        "result": _result(head, view),
        "ended": (head.ended_wall, head.ended_ms) if ended else None,
        "history": [(int.from_bytes(key[17:], "big"), unpack(run)[3]) for key, run in found],
        "stop": head.cancel_requested,
    }


def _result(head: Head, view: MemoryView) -> bytes | None:
    if head.result_size <= CONTENT_SIZE_IN_HEAD:
        return head.content if head.result_size >= 0 else None
    return unpack_raw(view.values[keys.RESULT + head.id])


def said(task: Task) -> dict[str, Any]:
    """A task of the model, in the same words."""
    return {
        "state": task.state,
        "counts": (task.attempt, task.retries, task.expiries, task.unknown, task.token),
        "due": None if task.due is None else task.due[:2],
        "ttl_end": task.ttl_end,
        "ttl_left": task.ttl_left if task.state == LEASED else None,
        "deadline": task.deadline if task.state == LEASED else None,
        "result": task.result,
        "ended": task.ended,
        "history": task.history,
        "stop": task.stop_wanted,
    }


AgainstModel.TestCase.settings = settings(
    max_examples=20, stateful_step_count=50, report_multiple_bugs=False
)
TestAgainstModel = AgainstModel.TestCase
