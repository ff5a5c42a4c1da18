"""Two nemeses at once: while the first lasts, the second strikes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chaos.live.nemesis import Nemesis, Scene, always_ready

# Whom the second strikes: those that the first harms, or as many others as may be missing.
SAME, OTHERS = "same", "others"
# Between the two: sometimes nobody has noticed the first one yet, sometimes all have.
APART_SECS = (0.0, 1.5)


def combination(first: Nemesis, second: Nemesis, whom: str, targets: tuple[str, ...]) -> Nemesis:
    """The nemesis `first` + `second`, the first of them aimed at `targets`. Both are mended when
    its block ends, the second one first."""

    @asynccontextmanager
    async def harmed(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        async with first.harm(scene, names):
            await asyncio.sleep(scene.chance.uniform(*APART_SECS))
            struck = names if whom == SAME else scene.others(names)
            async with second.harm(scene, struck):
                yield

    async def both_ready(scene: Scene) -> None:
        await first.ready(scene)
        await second.ready(scene)

    plain = first.ready is second.ready is always_ready
    return Nemesis(
        name=f"{first.name} + {second.name} ({whom})",
        harm=harmed,
        targets=targets,
        needs=first.needs | second.needs,
        lasts_secs=max(first.lasts_secs, second.lasts_secs),
        silent=first.silent or second.silent,
        clock=(min(first.clock[0], second.clock[0]), max(first.clock[1], second.clock[1])),
        clock_jump_secs=first.clock_jump_secs + second.clock_jump_secs,
        spreads=whom == OTHERS,
        ready=always_ready if plain else both_ready,
    )
