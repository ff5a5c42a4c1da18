"""Harm to the ways between members: cut in all the shapes that a network finds, late, lossy.

Clients reach every member all the time, but for `isolated`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import pairwise, permutations

from chaos.live.ground import CLIENTS, LINKS, Mend, Way
from chaos.live.nemesis import ALL, FOLLOWER, LEADER, MAJORITY, MINORITY, Harm, Nemesis, Scene

# How long the flapping link is up, or down: shorter and longer than an election time-out.
FLAP_SECS = (0.05, 1.2)


@asynccontextmanager
async def harmed(begin: Callable[[], Mend]) -> AsyncIterator[None]:
    """Done by programs that take their time; whoever watches from this process goes on."""
    mend = await asyncio.to_thread(begin)
    try:
        yield
    finally:
        await asyncio.to_thread(mend)


def _cutting(ways: Callable[[Scene, tuple[str, ...]], Iterable[Way]]) -> Harm:
    """The harm that cuts these ways."""

    @asynccontextmanager
    async def cut(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        links, found = scene.cluster.ground.links, frozenset(ways(scene, names))
        async with harmed(partial(links.cut, found)):
            yield

    return cut


def _worsening(*, delay_secs: float = 0.0, jitter_secs: float = 0.0, loss: float = 0.0) -> Harm:
    """The harm that makes all ways from and to the members late or lossy."""

    @asynccontextmanager
    async def worse(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        ways = frozenset(_between(scene, names)).union(permutations(names, 2))
        how = {"delay_secs": delay_secs, "jitter_secs": jitter_secs, "loss": loss}
        async with harmed(partial(scene.cluster.ground.links.worsen, ways, **how)):
            yield

    return worse


@asynccontextmanager
async def flapping(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """The members are cut off, and are not, and are again, at moments from the seed."""
    cut = partial(scene.cluster.ground.links.cut, frozenset(_between(scene, names)))

    over = asyncio.Event()

    async def a_while() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), scene.chance.uniform(*FLAP_SECS))

    async def flap() -> None:
        while not over.is_set():
            async with harmed(cut):
                await a_while()
            await a_while()

    flaps = asyncio.create_task(flap())
    try:
        yield
    finally:
        over.set()
        await flaps


# --- which ways -----------------------------------------------------------------------------------


def _others(scene: Scene, names: tuple[str, ...]) -> list[str]:
    return [name for name in scene.cluster.nodes if name not in names]


def _into(scene: Scene, names: tuple[str, ...]) -> Iterable[Way]:
    return [(other, name) for name in names for other in _others(scene, names)]


def _out_of(scene: Scene, names: tuple[str, ...]) -> Iterable[Way]:
    return [(name, other) for other, name in _into(scene, names)]


def _between(scene: Scene, names: tuple[str, ...]) -> Iterable[Way]:
    return [*_into(scene, names), *_out_of(scene, names)]


def _each_alone(_: Scene, names: tuple[str, ...]) -> Iterable[Way]:
    return permutations(names, 2)


def _from_clients_too(scene: Scene, names: tuple[str, ...]) -> Iterable[Way]:
    clients = [way for name in names for way in ((name, CLIENTS), (CLIENTS, name))]
    return [*_between(scene, names), *clients]


def outside_ring(scene: Scene, names: tuple[str, ...]) -> Iterable[Way]:
    """In a ring of five everybody sees a majority, and no two see the same one. Three are a chain,
    of which the first of `names` is an end: the two ends lose each other."""
    others = _others(scene, names)
    order = [*names, *scene.chance.sample(others, len(others))]
    neighbours = set(pairwise(order))
    if len(order) > 3:
        neighbours.add((order[-1], order[0]))
    return [
        (one, other)
        for one, other in permutations(order, 2)
        if (one, other) not in neighbours and (other, one) not in neighbours
    ]


# --- the nemeses ----------------------------------------------------------------------------------

# Some end before an election, most after.
CUT_SECS = (0.5, 6.0)
# An election, and what a cluster does under it for a while.
WORSE_SECS = (3.0, 8.0)
ONE = (LEADER, FOLLOWER)
_NEEDS = frozenset({LINKS})


def _cut(name: str, ways: Callable[[Scene, tuple[str, ...]], Iterable[Way]], *whom: str) -> Nemesis:
    return Nemesis(name, _cutting(ways), whom, _NEEDS, CUT_SECS, silent=True)


def _worse(name: str, harm: Harm) -> Nemesis:
    return Nemesis(name, harm, (*ONE, ALL), _NEEDS, WORSE_SECS, silent=True)


# Cut off from the others; of a minority or majority, its members still reach each other.
PARTITION = _cut("partition", _between, *ONE, MINORITY, MAJORITY)
SHATTER = _cut("every node alone", _each_alone, ALL)
ISOLATION = _cut("cut off from clients, too", _from_clients_too, *ONE)
RING = _cut("ring", outside_ring, *ONE)
# Their packets arrive, those of the others do not; and the other way round.
DEAF = _cut("deaf", _into, *ONE)
MUTE = _cut("mute", _out_of, *ONE)
FLAPPING = Nemesis("flapping link", flapping, ONE, _NEEDS, WORSE_SECS, silent=True)
DELAY = _worse("delay 100 ± 50 ms", _worsening(delay_secs=0.1, jitter_secs=0.05))
LOSS = _worse("loss 5 %", _worsening(loss=0.05))
HEAVY_LOSS = _worse("loss 20 %", _worsening(loss=0.2))
DELAY_AND_LOSS = _worse(
    "delay 100 ± 50 ms, loss 5 %", _worsening(delay_secs=0.1, jitter_secs=0.05, loss=0.05)
)

NETWORK_FAULTS = (
    *(PARTITION, SHATTER, ISOLATION, RING, DEAF, MUTE, FLAPPING),
    *(DELAY, LOSS, HEAVY_LOSS, DELAY_AND_LOSS),
)
