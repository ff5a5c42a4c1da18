"""P1: a replica killed at random moments, thirty times on one folder, loses nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.storage.directory import DataDirectory
from taskq.machine.machine import Machine
from taskq.machine.view import MemoryView
from tests.integration.replication.node import running

ROUNDS = 30
ROUND_COUNT = 1_000_000  # numbers of one round; no process gets through so many


class Nursery:
    """The process that forks victims."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.replication.victim"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[3],
            text=True,
        )

    def round(self, request: str, secs: float) -> list[str]:
        """One victim: killed so long after its first acknowledgement; what it said."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(request + "\n")
        stdin.flush()
        said: list[str] = []
        killer: threading.Timer | None = None
        pid = 0
        for line in stdout:
            text = line.strip()
            if text == "gone":
                break
            if text.startswith("pid "):
                pid = int(text[4:])
            else:
                said.append(text)
            if pid and said and killer is None:
                killer = threading.Timer(secs, os.kill, (pid, signal.SIGKILL))
                killer.start()
        assert killer is not None, "the victim died by itself"
        killer.join()
        return said

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def killed(
    nursery: Nursery, path: Path, interval: float, checkpoint_size: int, rounds: int = ROUNDS
) -> list[list[str]]:
    """What each of the victims said."""
    chance = random.Random(checkpoint_size)
    return [
        nursery.round(
            f"{path} {number * ROUND_COUNT + 1} {interval} {checkpoint_size}",
            chance.uniform(0, 0.25) if number % 5 else 1.2,  # at times the state is written, too
        )
        for number in range(rounds)
    ]


def numbers(said: list[str], letter: str) -> list[int]:
    return [int(text[2:]) for text in said if text.startswith(letter + " ")]


def task_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("checkpoint_size", "rounds"),
    [(200_000, 15), pytest.param(1 << 40, ROUNDS, marks=pytest.mark.slow)],
)
async def test_nothing_acknowledged_is_lost(
    nursery: Nursery, tmp_path: Path, checkpoint_size: int, rounds: int
) -> None:
    path = tmp_path / "d"
    victims = killed(nursery, path, 0.0, checkpoint_size, rounds)
    said = [text for victim in victims for text in victim]
    assert len(numbers(said, "a")) > 20 * rounds
    assert len(numbers(said, "c")) > rounds
    async with running(path) as (replica, _):
        machine = replica.machine
        machine.check()
        lost = [n for n in numbers(said, "a") if machine.is_final(task_id(n)) is None]
        assert not lost
        undone = [n for n in numbers(said, "c") if not machine.is_final(task_id(n))]
        assert not undone
        assert replica.term == rounds + 1
    with DataDirectory.open(path, "n1") as directory:
        log, state = directory.open_stores()
        assert state.index == log.last_index
        if log.first_index == 1:
            view = MemoryView()
            replayed = Machine(view)
            for _, _, command in log.read(1, log.last_index):
                if command[:1] == b"\0":
                    replayed.apply(command[1:])
            assert view.values == dict(state.iterate()), "replaying the log gives another state"
        else:
            assert checkpoint_size == 200_000
        assert (log.first_index > 1) == (checkpoint_size == 200_000)
        log.close()
        state.close()


@pytest.mark.timeout(120)
@pytest.mark.slow
async def test_with_durability_interval_only_the_newest_may_be_lost(
    nursery: Nursery, tmp_path: Path
) -> None:
    """The promise: what was acknowledged longer ago than the interval is there."""
    path = tmp_path / "d"
    victims = killed(nursery, path, 0.02, 200_000, rounds=10)
    async with running(path) as (replica, _):
        replica.machine.check()
        for said in victims:
            acknowledged = sorted(numbers(said, "a"))
            there = [replica.machine.is_final(task_id(n)) is not None for n in acknowledged]
            assert there == sorted(there, reverse=True), "a hole"
        kept = sum(
            replica.machine.is_final(task_id(n)) is not None
            for said in victims
            for n in numbers(said, "a")
        )
        assert kept > 0.5 * sum(len(numbers(said, "a")) for said in victims)
