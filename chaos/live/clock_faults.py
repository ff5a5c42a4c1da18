"""Clocks that are wrong: by hours, by years, jumping to and fro, fast and slow.

A wall clock may show anything (P8); the monotonic clock stays real then. That it jumps or runs at a
wrong rate is more than any design stands for: rows of their own, with wider bounds for leases.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from chaos.live.clock import CLOCK, STEADY, WALL, Clock
from chaos.live.ground import SHIM
from chaos.live.nemesis import (
    ALL,
    FOLLOWER,
    LEADER,
    MAJORITY,
    MINORITY,
    Harm,
    Nemesis,
    Ready,
    Scene,
)

HOUR_SECS = 3600.0
YEAR_SECS = 365.0 * 24 * HOUR_SECS
YEARS_MAX = 20
# To and fro, one after the other so far apart, and as far as this: some smaller than a heartbeat,
# some of years.
JUMP_EVERY_SECS = (0.05, 0.7)
JUMP_SECS = (0.05, YEARS_MAX * YEAR_SECS)
# Of the monotonic clock. Ahead: further than any lease lasts. Back: every timer of the process is
# late by as much, so that an election falls into it, and not the end of all service.
AHEAD_SECS = (0.2, 20.0)
BACK_SECS = (0.2, 3.0)
# What the design lets one round of a leader add to cluster time.
ROUND_SECS_MAX = 0.5
SLOW, FAST = 0.9, 1.1


def ready(kind: str) -> Ready:
    """Restarts the nodes whose processes have no clock of this kind, the leader last."""

    async def made_ready(scene: Scene) -> None:
        cluster = scene.cluster
        leader = await cluster.leader()
        for name in sorted(cluster.nodes, key=lambda name: name == leader):
            node = cluster.nodes[name]
            if not Clock(node).is_on(kind):
                await asyncio.to_thread(node.terminate)
                Clock(node).put_on(kind)
                cluster.start([name])
                await cluster.whole()

    return made_ready


@contextmanager
def clocks(scene: Scene, names: tuple[str, ...], kind: str) -> Iterator[list[Clock]]:
    """Those of the members, put on, so that processes that are started meanwhile have them, too;
    right again, and taken off, at the end."""
    found = [Clock(scene.cluster.nodes[name]) for name in names]
    for clock in found:
        clock.put_on(kind)
    try:
        yield found
    finally:
        for clock in found:
            clock.take_off()


def _off(secs_max: float, signs: tuple[int, ...]) -> Harm:
    """Each member's wall clock shows another time, off by half of `secs_max` to all of it."""

    @asynccontextmanager
    async def off(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        with clocks(scene, names, WALL) as found:
            for clock in found:
                secs = scene.chance.uniform(0.5, 1.0) * secs_max
                clock.be_off(scene.chance.choice(signs) * secs)
            yield
            for clock in found:
                clock.be_off(0.0)

    return off


@asynccontextmanager
async def jumping(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """The members' wall clocks jump to and fro, each by itself."""
    over, chance = asyncio.Event(), scene.chance

    async def jump(clock: Clock) -> None:
        while not over.is_set():
            secs = math.exp(chance.uniform(*map(math.log, JUMP_SECS)))
            clock.be_off(chance.choice((-1, 0, 1)) * secs)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), chance.uniform(*JUMP_EVERY_SECS))
        clock.be_off(0.0)

    with clocks(scene, names, WALL) as found:
        jumps = asyncio.gather(*map(jump, found))
        try:
            yield
        finally:
            over.set()
            await jumps


def _steady_jump(sign: int, least: float, most: float) -> Harm:
    """The members' clocks jump once, the monotonic ones, too, and stay so."""

    @asynccontextmanager
    async def jumped(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        with clocks(scene, names, STEADY) as found:
            for clock in found:
                clock.jump(sign * scene.chance.uniform(least, most))
            yield

    return jumped


def _rate(rate: float) -> Harm:
    """The members' clocks run at this rate, the monotonic ones, too."""

    @asynccontextmanager
    async def running(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        with clocks(scene, names, STEADY) as found:
            for clock in found:
                clock.run_at(rate)
            yield
            for clock in found:
                clock.run_at(1.0)

    return running


# --- the nemeses ----------------------------------------------------------------------------------

WRONG_SECS = (2.0, 6.0)
_NEEDS = frozenset({SHIM, CLOCK})
# So few that they are outvoted: the log's wall time never goes past what a majority have reached.
FEW = (LEADER, FOLLOWER, MINORITY)
TO_AND_FRO, BACK = (-1, 1), (-1,)


def _wall(name: str, harm: Harm, whom: tuple[str, ...]) -> Nemesis:
    return Nemesis(name, harm, whom, _NEEDS, WRONG_SECS, ready=ready(WALL))


def _steady(name: str, harm: Harm, jump_secs: float, rate: float = 1.0) -> Nemesis:
    clock = (min(rate, 1.0), max(rate, 1.0))
    return Nemesis(
        *(name, harm, (LEADER, FOLLOWER, ALL), _NEEDS, WRONG_SECS),
        clock=clock,
        clock_jump_secs=jump_secs,
        ready=ready(STEADY),
    )


HOURS = _wall("wall clock ± 1 h", _off(HOUR_SECS, TO_AND_FRO), (*FEW, MAJORITY, ALL))
YEARS = _wall("wall clock ± 20 years", _off(YEARS_MAX * YEAR_SECS, TO_AND_FRO), FEW)
# Forward, a majority would be believed, and take what it has finished for old enough to be removed.
YEARS_BACK = _wall("wall clock 20 years back", _off(YEARS_MAX * YEAR_SECS, BACK), (MAJORITY, ALL))
JUMPING = _wall("wall clock jumps", jumping, FEW)
AHEAD = _steady("monotonic clock jumps ahead", _steady_jump(1, *AHEAD_SECS), ROUND_SECS_MAX)
BEHIND = _steady("monotonic clock jumps back", _steady_jump(-1, *BACK_SECS), max(BACK_SECS))
FAST_CLOCK = _steady("clock 10 % fast", _rate(FAST), 0.0, FAST)
SLOW_CLOCK = _steady("clock 10 % slow", _rate(SLOW), 0.0, SLOW)

CLOCK_FAULTS = (
    *(HOURS, YEARS, YEARS_BACK, JUMPING),
    *(AHEAD, BEHIND, FAST_CLOCK, SLOW_CLOCK),
)
