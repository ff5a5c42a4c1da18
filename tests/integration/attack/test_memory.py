"""What connections make a node hold is bounded by its configuration, however many there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import commands
from taskq.limits import MIB
from tests.integration.attack.victim import Stranger, Victim, under_attack

# One connection may hold 2 MiB, the node 8 MiB; what it needs for copies and answers under way
# comes on top. Without a bound over all connections each attack below takes 100 MiB and more.
LIMITS = {"broker__max_bytes_in_flight": 2 * MIB}
GROWTH_MAX = 60 * MIB
WORKER = b"w" * 16


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    home: Path = tmp_path_factory.mktemp("memory")
    with under_attack(home, **LIMITS) as victim:
        yield victim


def _task(producer: Stranger, queue: str, payload: bytes = b"") -> bytes:
    task_id = os.urandom(16)
    producer.ask(commands.SubmitTask(task_id, queue, payload=payload))
    return task_id


def test_results_that_nobody_reads(victim: Victim) -> None:
    task_id = _task(victim.healthy, "results")
    (task,) = victim.healthy.ask(commands.ClaimTask(WORKER, 1, 1, ["results"])).tasks
    done = commands.TaskResult(task_id, task.token, True, os.urandom(MIB))
    assert victim.healthy.ask(done).state == 5
    before = victim.memory()
    deaf = victim.strangers(80, window=4096)
    for stranger in deaf:
        stranger.send(*[commands.QueryStatus(task_id)] * 50)
    assert victim.peak(3.0) - before < GROWTH_MAX
    victim.check(deaf)


def test_claims_repeated_on_many_connections_that_nobody_reads(victim: Victim) -> None:
    for _ in range(4):
        _task(victim.healthy, "repeats", os.urandom(MIB))
    claim = commands.ClaimTask(WORKER, 2, 2, ["repeats"], 4)
    granted = victim.healthy.ask(claim).tasks
    assert len(granted) == 4
    before = victim.memory()
    deaf = victim.strangers(60, window=4096)
    for stranger in deaf:
        stranger.send(*[claim] * 20)
    assert victim.peak(3.0) - before < GROWTH_MAX
    victim.check(deaf)
    for task in granted:
        victim.healthy.ask(commands.Ack(task.task_id, task.token))


def test_parked_claims_of_many_queues(victim: Victim) -> None:
    before = victim.memory()
    crowd = victim.strangers(20)
    for position, stranger in enumerate(crowd):
        claims = [
            commands.ClaimTask(
                bytes([position]) * 15 + bytes([number]),
                *(1, 1, [f"{position}-{number}-{queue}" for queue in range(100)]),
                wait_ms=60_000,
            )
            for number in range(100)
        ]
        stranger.send(*claims)
    assert victim.peak(2.0) - before < GROWTH_MAX
    victim.check(crowd)


def test_claims_of_a_client_that_left_are_given_no_task(victim: Victim) -> None:
    """Over its limit the connection is not read from, so that its end is not met by reading."""
    (gone,) = victim.strangers(1)
    wide = [f"gone-{queue}" for queue in range(100)]
    for number in range(60):
        gone.send(commands.ClaimTask(bytes([number]) * 16, 1, 1, wide, wait_ms=60_000))
    victim.check([gone])
    task_id = _task(victim.healthy, "gone-7")
    assert victim.healthy.ask(commands.QueryStatus(task_id)).state == 2


def test_batches_of_many_small_headers(victim: Victim) -> None:
    headers = {chr(33 + number): "" for number in range(32)}
    before = victim.memory()
    crowd = victim.strangers(20)
    for stranger in crowd:
        tasks = [
            list(commands.SubmitTask(os.urandom(16), "headers", headers=headers))
            for _ in range(1_000)
        ]
        stranger.socket.settimeout(0.05)
        try:
            stranger.send(*[commands.SubmitTasks(tasks)] * 8)
        except TimeoutError:
            pass  # it is not read from: as it should be
    assert victim.peak(3.0) - before < GROWTH_MAX
    victim.check(crowd)
