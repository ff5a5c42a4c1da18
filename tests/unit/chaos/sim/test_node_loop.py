"""Virtual time: order, timers by the machine's clock, pauses, kills, executors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chaos.sim.clocks import Clock
from chaos.sim.disk import Interrupted
from chaos.sim.executors import Executor
from chaos.sim.node_loop import NodeLoop
from chaos.sim.world import Violation, World


class Rig:
    """A loop whose clock runs at `rate`, and what surprised it."""

    def __init__(self, rate: float = 1.0) -> None:
        self.world = World(1)
        self.clock = Clock(lambda: self.world.now, 1_000.0, rate)
        self.executor = Executor(self.world, "disk", lambda: 0.5)
        self.surprises: list[Any] = []
        self.loop = NodeLoop(  # type: ignore[abstract]
            self.world,
            self.clock,
            "n1",
            self.executor,
            lambda text, error: self.surprises.append((text, error)),
        )

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        return self.loop.create_task(coroutine)


def test_sleeping_takes_virtual_time_by_the_own_clock() -> None:
    rig = Rig(rate=0.5)
    task = rig.start(asyncio.sleep(1.0))
    rig.world.run_until(1.9)
    assert not task.done()
    rig.world.run_until(2.1)
    assert task.done()
    assert rig.loop.time() == pytest.approx(1_001.05)


def test_tasks_futures_and_timeouts_of_asyncio_work() -> None:
    rig = Rig()

    async def both() -> str:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, event.set)
        first, second = await asyncio.gather(event.wait(), asyncio.sleep(0.1, "slept"))
        assert first is True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(9), 0.3)
        return second

    task = rig.start(both())
    rig.world.run_until(1.0)
    assert task.result() == "slept"
    assert rig.surprises == []


def test_an_executor_does_one_after_the_other() -> None:
    rig = Rig()
    done: list[tuple[str, float]] = []

    async def work(name: str) -> None:
        result = await asyncio.get_running_loop().run_in_executor(None, lambda: name)
        done.append((result, round(rig.world.now, 2)))

    rig.start(work("a"))
    rig.start(work("b"))
    rig.world.run_until(5.0)
    assert done == [("a", 0.5), ("b", 1.0)]


def test_an_error_in_an_executor_goes_to_the_caller() -> None:
    rig = Rig()

    def fail() -> None:
        raise OSError("no")

    async def work() -> None:
        with pytest.raises(OSError, match="no"):
            await asyncio.get_running_loop().run_in_executor(None, fail)

    task = rig.start(work())
    rig.world.run_until(1.0)
    task.result()


def test_a_paused_loop_is_late() -> None:
    rig = Rig()
    seen: list[float] = []
    rig.loop.call_later(1.0, lambda: seen.append(rig.world.now))
    rig.loop.pause()
    rig.world.run_until(3.0)
    assert seen == []
    rig.loop.resume()
    rig.world.run_until(4.0)
    assert seen == [pytest.approx(3.0, abs=0.001)]


def test_a_killed_loop_runs_nothing_more_and_closes_its_coroutines() -> None:
    rig = Rig()
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1.0)
            seen.append("went on")
        finally:
            seen.append("closed")
            await asyncio.sleep(1.0)
            seen.append("cleaned up")

    rig.start(work())
    rig.loop.call_later(0.9, seen.append, "timer")
    rig.world.run_until(0.5)
    rig.loop.kill()
    rig.world.run_until(5.0)
    assert seen == ["closed"]


def test_a_jump_of_the_clock_moves_the_timers() -> None:
    rig = Rig()
    seen: list[float] = []
    rig.loop.call_later(10.0, lambda: seen.append(rig.world.now))
    rig.world.run_until(1.0)
    rig.clock.jump(8.0)
    rig.loop.clock_changed()
    rig.world.run_until(5.0)
    assert seen == [pytest.approx(2.0, abs=0.001)]


def test_what_nobody_catches_is_a_surprise() -> None:
    rig = Rig()
    rig.loop.call_soon(lambda: 1 // 0)
    rig.world.run_until(1.0)
    assert isinstance(rig.surprises[0][1], ZeroDivisionError)


def test_a_violation_ends_the_run_and_the_first_one_counts() -> None:
    world = World(1)
    world.at(1.0, world.violate, "first")
    world.at(1.0, world.violate, "second")
    with pytest.raises(Violation, match="first"):
        world.run_until(2.0)


def test_generators_depend_on_seed_and_name_only() -> None:
    one, other = World(7), World(7)
    other.generator("else").random()
    assert one.generator("a", 1).random() == other.generator("a", 1).random()
    assert World(8).generator("a", 1).random() != one.generator("a", 1).random()


def test_work_in_which_the_power_fails_tells_nobody() -> None:
    rig = Rig()
    heard: list[Any] = []

    def interrupted() -> None:
        raise Interrupted

    rig.executor.carry_out(interrupted, lambda *outcome: heard.append(outcome))
    rig.world.run_until(2.0)
    assert heard == []
