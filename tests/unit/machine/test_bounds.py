"""What one entry, one claim, one listing and one worker may cost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from taskq import commands
from taskq.limits import (
    CLAIM_COUNT_MAX,
    ERROR_SIZE_MAX,
    FRAME_SIZE_MAX,
    HEADER_COUNT_MAX,
    HEADER_SIZE_MAX,
)
from taskq.machine import ending, keys, ready, retry
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Machine
from taskq.machine.view import MemoryView
from taskq.protocol.codec import decode_answer, encode_reply, make_pack
from taskq.registry import MESSAGE_OF
from tests.unit.machine.script import Script

WORKER = b"w" * 16


class CountingView(MemoryView):
    """Counts calls, and the pairs that scans returned."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def get(self, key: bytes) -> bytes | None:
        self.calls["get"] += 1
        return super().get(key)

    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        found = super().scan(prefix, after, limit)
        self.calls["scan"] += 1
        self.calls["scanned"] += len(found)
        return found


def task_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def apply(machine: Machine, *many: Any, elapsed: int = 0) -> list[Any]:
    applied = machine.apply(encode_entry(elapsed, elapsed, many))
    return [machine.reply(result) for result in applied.results]


def fill(machine: Machine, count: int, **fields: Any) -> None:
    for start in range(0, count, 500):
        numbers = range(start, min(start + 500, count))
        apply(machine, *[commands.SubmitTask(task_id(n + 1), "q", **fields) for n in numbers])


def frame_size(command: Any, reply: Any) -> int:
    """Size of a reply on the wire; what is not legal there raises."""
    code = MESSAGE_OF[type(command)].code
    data = encode_reply(make_pack(), code, 1, reply)
    decode_answer(data[4], data[5:])
    return len(data)


def test_claims_from_a_long_backlog_do_not_scan_it_again() -> None:
    view = CountingView()
    fill(Machine(view), 10_000)
    machine = Machine(view)
    view.calls.clear()
    for number in range(1, 1_001):
        claim = commands.ClaimTask(WORKER, number, number, ["q"], 10)
        (claimed,) = apply(machine, claim)
        apply(machine, *[commands.Ack(task.task_id, task.token) for task in claimed.tasks])
    # Ten thousand tasks in windows that grow to 2,048; the rest are the heads, once each.
    assert view.calls["scan"] <= 10_000 // ready.REFILL_COUNT + 16
    assert view.calls["scanned"] <= 10_000 + 8
    assert view.calls["get"] <= 10_000 + 1_000


def test_a_restart_reads_the_heads_and_not_the_backlog() -> None:
    view = CountingView()
    machine = Machine(view)
    fill(machine, 3_000)
    apply(machine, commands.ClaimTask(WORKER, 1, 1, ["q"], 10))
    view.calls.clear()
    machine = Machine(view)
    assert view.calls["scanned"] <= 10 + 1 + 1 + 1, "leases, worker, claim, queue"
    (claimed,) = apply(machine, commands.ClaimTask(WORKER, 2, 1, ["q"], 10))
    assert [task.task_id for task in claimed.tasks] == [task_id(n) for n in range(11, 21)]


def test_an_advance_with_nothing_due_scans_no_more_than_what_is_next() -> None:
    view = CountingView()
    machine = Machine(view)
    fill(machine, 2_000, delay_ms=60_000, ttl_ms=60_000)
    apply(machine, commands.CancelTask(task_id(1)))
    view.calls.clear()
    apply(machine, commands.Advance())
    assert view.calls["scanned"] <= 4


def test_an_advance_acts_on_its_limit_at_most() -> None:
    machine = Machine(MemoryView())
    fill(machine, 50, delay_ms=1)
    apply(machine, commands.Advance(20), elapsed=1)
    assert machine.ready_count("q") == 20
    apply(machine, commands.Advance(20), elapsed=1)
    assert machine.ready_count("q") == 40


LONG = "\N{GRINNING FACE}" * HEADER_SIZE_MAX
HEADERS = {f"{n:02}{LONG}"[:HEADER_SIZE_MAX]: LONG for n in range(HEADER_COUNT_MAX)}
LARGE = [
    {"headers": HEADERS, "name": "\N{GRINNING FACE}" * 200},
    {"payload": b"x" * 1_048_576},
    {"payload": b"x" * 16_000},
    {"headers": dict.fromkeys(map(str, range(HEADER_COUNT_MAX)), ""), "payload": b"x" * 16_000},
]


@pytest.mark.parametrize("fields", LARGE, ids=["headers", "payload", "many", "small headers"])
def test_a_claim_of_large_tasks_fits_a_frame(fields: dict[str, Any]) -> None:
    machine = Machine(MemoryView())
    apply(machine, commands.Configure({"max_batch_claim": CLAIM_COUNT_MAX}))
    queue = "q" * 200
    for number in range(1_050 if len(fields.get("payload", b"")) == 16_000 else 70):
        apply(machine, commands.SubmitTask(task_id(number + 1), queue, **fields))
    claim = commands.ClaimTask(WORKER, 1, 1, [queue], 5_000)
    (claimed,) = apply(machine, claim)
    size = frame_size(claim, claimed)
    assert FRAME_SIZE_MAX // 2 < size <= FRAME_SIZE_MAX
    assert claimed.max_tasks == CLAIM_COUNT_MAX


def test_listings_of_large_tasks_fit_a_frame_and_miss_none() -> None:
    machine = Machine(MemoryView())
    count = 100
    for number in range(1, count + 1):
        task = commands.SubmitTask(task_id(number), "q", max_retries=0, headers=HEADERS)
        (_, claimed) = apply(machine, task, commands.ClaimTask(WORKER, number, number, ["q"]))
        token = claimed.tasks[0].token
        error = "\N{GRINNING FACE}" * ERROR_SIZE_MAX
        apply(machine, commands.TaskResult(task_id(number), token, False, None, error))
    for shape in (commands.ListTasks, commands.ListDead):
        after, pages, seen = None, 0, []
        while pages == 0 or after is not None:
            question = shape(None, after=after, limit=1_000)
            page = machine.ask(question)
            assert frame_size(question, page) <= FRAME_SIZE_MAX
            seen += [task.task_id for task in page.tasks]
            after, pages = page.after, pages + 1
        assert seen == [task_id(number) for number in range(1, count + 1)]
        assert 2 <= pages < 10


def test_registering_again_and_again_does_not_fill_the_memory() -> None:
    machine = Machine(MemoryView())
    for turn in range(2_000):
        apply(machine, commands.RegisterWorker(WORKER, "w", 1, 3_600_000), elapsed=turn)
        machine.next_due()
    heap = machine._state.workers._deadlines._heap  # there is no other way to see memory
    assert len(heap) < 200
    for turn in range(2_000):
        other = turn.to_bytes(16, "big")
        apply(machine, commands.RegisterWorker(other, "w", 1, 3_600_000), elapsed=2_000)
        apply(machine, commands.DeregisterWorker(other), elapsed=2_000)
    assert len(machine._state.workers._deadlines._heap) < 200
    assert machine.next_due()[0] == 1_999 + 2 * 3_600_000


def test_claiming_and_releasing_for_ever_does_not_fill_the_memory() -> None:
    machine = Machine(MemoryView())
    fill(machine, 3)
    for turn in range(1, 2_000):
        claim = commands.ClaimTask(WORKER, turn, turn, ["q"], 3)
        (claimed,) = apply(machine, claim, elapsed=turn)
        for task in claimed.tasks:
            extend = commands.ExtendLease(task.task_id, task.token, 1_000 + turn % 7 * 1_000)
            apply(machine, extend, commands.Nack(task.task_id, task.token), elapsed=turn)
    assert len(machine._state.leases._deadlines._heap) < 200
    assert len(machine._state.queues.by_name["q"].window._next) < 10


def test_an_error_text_is_cut_before_anything_else_is_done_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script()
    script.run(["submit q id=a retries=0", "claim w #1 q"])
    sizes = []

    def last_line(error: str) -> str:
        sizes.append(len(error))
        return ending.last_line(error)

    monkeypatch.setattr(retry, "last_line", last_line)
    error = "\n" * 1_000_000 + "at last\n"
    result = commands.TaskResult(b"a" + bytes(15), 1, False, None, error)
    script.machine.apply(encode_entry(script.elapsed, script.wall, [result]))
    assert sizes == [ERROR_SIZE_MAX]
    assert 'reason="at last"' in script.run(["status a"])[0]


def test_a_cut_text_is_whole_characters_and_ends_as_it_did() -> None:
    for text in ("", "é" * 10, "\N{GRINNING FACE}" * 10, "abc" + "é" * 30):
        for size_max in range(12):
            cut = ending.cut(text, size_max)
            assert text.endswith(cut)
            assert size_max - 4 < len(cut.encode()) <= size_max or cut == text


def test_what_a_worker_claimed_is_forgotten_with_it() -> None:
    view = MemoryView()
    machine = Machine(view)
    fill(machine, 40)
    apply(machine, *[commands.ClaimTask(WORKER, n, 1, ["q"]) for n in range(1, 41)])
    assert len(view.scan(keys.CLAIM, None, 100)) == 40
    apply(machine, commands.Advance(1_000), elapsed=30_000)
    assert not view.scan(keys.CLAIM, None, 100)
    assert not view.scan(keys.WORKER, None, 100)
