"""Clocks that are wrong are wrong as asked, in a program and in a node; all else goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from chaos.live.clock import STEADY, WALL, Clock
from chaos.live.node import LiveNode
from taskq import Client

# `.ci/run` installs the library; where it is missing, that is an error.
pytestmark = pytest.mark.root

HOUR_SECS = 3600.0
YEAR_SECS = 365 * 24 * HOUR_SECS
SLACK_SECS = 0.05
# The best of so many: a machine that does ten other things is late now and then.
TRIES = 5

# `clocks`: what they show; the third one is that of uvloop's loop. `sleep`: 0.5 s by its own clock.
# `threads`: how often a thread gets the interpreter's lock while another one computes for 0.5 s.
READER = """
import asyncio, os, sys, threading, time
import uvloop

async def clocks():
    await asyncio.sleep(0)
    return time.time(), time.monotonic(), asyncio.get_running_loop().time()

async def sleep():
    began = time.monotonic()
    await asyncio.sleep(0.5)
    return [time.monotonic() - began]

async def threads():
    ends, file, count = time.perf_counter() + 0.5, os.open("/dev/zero", os.O_RDONLY), 0
    def compute():
        while time.perf_counter() < ends:
            sum(range(1000))
    computing = threading.Thread(target=compute)
    computing.start()
    while computing.is_alive():
        os.read(file, 1)
        count += 1
    return [count]

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    for line in sys.stdin:
        print(*runner.run(globals()[line.strip()]()), flush=True)
"""


class Off(NamedTuple):
    """By how many seconds a clock has moved more than ours since the first look."""

    wall: float
    monotonic: float
    loop: float


class Reader(LiveNode):
    """A program that tells its clocks, in the place of a node."""

    def spawn(self) -> None:
        self.spawned_at = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **self.environment},
        )
        self._first = self._differences()

    def ask(self, question: str) -> list[float]:
        assert self._process is not None
        self._process.stdin.write(question.encode() + b"\n")
        self._process.stdin.flush()
        return [float(word) for word in self._process.stdout.readline().split()]

    def off(self) -> Off:
        return Off(*(x - y for x, y in zip(self._differences(), self._first, strict=True)))

    def slept_secs(self) -> float:
        """How long half a second by its clock is by ours."""

        def once() -> float:
            before = time.monotonic()
            assert self.ask("sleep")[0] >= 0.49
            return time.monotonic() - before

        return min(once() for _ in range(TRIES))

    def _differences(self) -> list[float]:
        def once() -> tuple[float, list[float]]:
            before = time.monotonic()
            shown = self.ask("clocks")
            after = time.monotonic()
            return after - before, [clock - after for clock in shown]

        return min(once() for _ in range(TRIES))[1]


@contextmanager
def reading(home: Path, kind: str) -> Iterator[tuple[Reader, Clock]]:
    with Reader(home) as reader:
        clock = Clock(reader)
        clock.put_on(kind)
        reader.spawn()
        assert clock.is_on(kind)
        yield reader, clock


def near(secs: float) -> object:
    return pytest.approx(secs, abs=SLACK_SECS)


def test_the_wall_clock_is_wrong_and_the_monotonic_one_is_real(tmp_path: Path) -> None:
    with reading(tmp_path, WALL) as (reader, clock):
        for offset in (HOUR_SECS, -HOUR_SECS, 0.1, -20 * YEAR_SECS, 20 * YEAR_SECS):
            clock.be_off(offset)
            assert reader.off() == (near(offset), near(0), near(0))
        assert reader.slept_secs() == near(0.5)
        (count,) = reader.ask("threads")
        assert count > 20, "threads do not get the interpreter's lock from each other"
        clock.put_on(WALL)
        assert reader.off().wall == near(20 * YEAR_SECS), "it was on already: nothing changes"
        clock.be_off(0)
        assert reader.off() == (near(0), near(0), near(0))


def test_steady_clocks_jump_and_run_at_another_rate_together(tmp_path: Path) -> None:
    with reading(tmp_path, STEADY) as (reader, clock):
        clock.jump(5)
        clock.jump(-7)
        assert reader.off() == (near(-2), near(-2), near(-2))
        clock.jump(2)
        shown = 0.0
        for rate in (1.1, 0.9):
            clock.run_at(rate)
            assert reader.off().monotonic == near(shown), "a change of the rate is no jump"
            began = time.monotonic()
            assert reader.slept_secs() == near(0.5 / rate)
            shown += (time.monotonic() - began) * (rate - 1.0)
            clock.run_at(1.0)
            assert reader.off() == (near(shown), near(shown), near(shown))
        (count,) = reader.ask("threads")
        assert count > 20


def test_a_clock_that_was_taken_off_is_not_that_of_the_next_process(tmp_path: Path) -> None:
    node = LiveNode(tmp_path)
    node.environment["LD_PRELOAD"] = "/lib/another.so"
    Clock(node).put_on(WALL)
    assert node.environment["LD_PRELOAD"].startswith("/lib/another.so ")
    Clock(node).take_off()
    assert node.environment == {"LD_PRELOAD": "/lib/another.so"}


def test_a_node_lives_by_a_wrong_clock(tmp_path: Path) -> None:
    with LiveNode(tmp_path) as node:
        clock = Clock(node)
        clock.put_on(WALL)
        clock.be_off(YEAR_SECS)
        node.spawn()
        asyncio.run(node.serving())
        with Client(node.url) as client:
            client.submit("q", b"")
            clock.be_off(-YEAR_SECS)
            client.submit("q", b"")
        node.terminate()
        assert node.returncode == 0
        lines = [line["timestamp"] for line in node.log_lines()]
    first, *_, last = (datetime.fromisoformat(line).timestamp() for line in lines)
    assert first - time.time() == pytest.approx(YEAR_SECS, abs=30)
    assert last - time.time() == pytest.approx(-YEAR_SECS, abs=30)
