"""Runs rows against running clusters and measures what they cost the nodes."""

from __future__ import annotations

import asyncio
import os
import platform
import time
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaos.attack.bystander import Bystander
from chaos.attack.rows import Row
from chaos.attack.scene import MIB, Amount, Scene
from chaos.attack.stranger import Closed
from chaos.attack.tries import Tries
from chaos.record import commit

# How often memory and descriptors are looked at. Seconds.
LOOK_SECS = 0.05
# The longest until a node is again as it was: descriptors are closed by sweeps. Seconds.
AGAIN_SECS = 10.0
# Descriptors that come and go with links and files of LevelDB.
FILES_MORE = 12


class Watch:
    """What the nodes hold at most, from `begin` on: memory (MiB more than then, on the node that
    grew most) and descriptors."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._memory, self._files = self._scene.memory(), self._scene.files()
        self.grown_mib = 0.0
        self.files_most = max(self._files)

    def look(self) -> None:
        """Takes in how things are."""
        pairs = zip(self._scene.memory(), self._memory, strict=True)
        grown = max(now - before for now, before in pairs) / MIB
        self.grown_mib = max(self.grown_mib, grown)
        self.files_most = max(self.files_most, *self._scene.files())

    async def go_on(self) -> None:
        """Looks until it is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECS)

    async def back(self) -> bool:
        """Whether the descriptors are as they were, soon."""
        ends = time.monotonic() + AGAIN_SECS
        while time.monotonic() < ends:
            pairs = zip(self._scene.files(), self._files, strict=True)
            if all(now <= before + FILES_MORE for now, before in pairs):
                return True
            await asyncio.sleep(LOOK_SECS)
        return False


async def run(home: Path, rows: Sequence[Row], amount: Amount, *, beside: bool) -> dict[str, Any]:
    """A line for the results. `beside`: both clusters are attacked at the same time, and rows that
    mostly wait are done together."""

    async def one(tls: bool) -> list[dict[str, Any]]:
        chosen = [row for row in rows if row.tls is tls]
        told: list[dict[str, Any]] = []
        if chosen:
            async with _under_way(home / ("tls" if tls else "plain"), amount, tls=tls) as attack:
                for group in _groups(chosen, beside=beside):
                    told += await attack.rows(group)
        return told

    started = time.monotonic()
    if beside:
        plain, tls = await asyncio.gather(one(False), one(True))
    else:
        plain, tls = await one(False), await one(True)
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "noise_secs": amount.noise_secs,
        "crowd": amount.crowd,
        "wall_secs": round(time.monotonic() - started, 1),
        "rows": plain + tls,
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
    }


def _groups(rows: Sequence[Row], *, beside: bool) -> list[list[Row]]:
    if not beside:
        return [[row] for row in rows]
    waiting = [row for row in rows if row.waits]
    return [[row] for row in rows if not row.waits] + ([waiting] if waiting else [])


class Attack:
    """A cluster with its bystander."""

    def __init__(self, scene: Scene, bystander: Bystander) -> None:
        self._scene = scene
        self._bystander = bystander
        self._watch = Watch(scene)
        self._complaints = 0

    async def rows(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Does them at the same time; a line for each, with what they cost together."""
        self._watch.begin()
        self._bystander.begin()
        began = time.monotonic()
        looking = asyncio.create_task(self._watch.go_on())
        try:
            tries = await asyncio.gather(*(self._tried(row) for row in rows))
        finally:
            looking.cancel()
        secs = time.monotonic() - began
        wrong = await self._wrong(max(row.memory_mib for row in rows))
        return [
            {
                "name": row.name,
                "what": row.what,
                "attempts": one.attempts,
                "refused": one.refused,
                "let_in": len(one.breaches),
                "breaches": one.breaches[:5],
                "whys": dict(one.whys.most_common(8)),
                "secs": round(secs, 1),
                "grown_mib": round(self._watch.grown_mib, 1),
                "files_most": self._watch.files_most,
                "served": self._bystander.served,
                "worst_secs": round(self._bystander.worst_secs, 2),
                "wrong": wrong,
            }
            for row, one in zip(rows, tries, strict=True)
        ]

    async def _tried(self, row: Row) -> Tries:
        tries = Tries()
        try:
            await row.attack(self._scene, tries)
        except Exception as error:  # noqa: BLE001  # the other rows are of interest all the same
            tries.admit(f"the attack failed: {error!r} {traceback.format_exc()[-1_500:]}")
        if not tries.attempts:
            tries.admit("nothing was tried")
        return tries

    async def _wrong(self, memory_mib: int) -> list[str]:
        """What is not as it should be after an attack."""
        found = [f"the bystander: {one}" for one in self._bystander.failures[:3]]
        if self._watch.grown_mib > memory_mib:
            found.append(f"a node grew by {self._watch.grown_mib:.0f} MiB of {memory_mib} allowed")
        if not await self._watch.back():
            found.append(f"descriptors stay open: {self._scene.files()}")
        dead = [name for name, node in self._scene.cluster.nodes.items() if not node.running]
        found += [f"{name} has ended" for name in dead]
        complaints = self._scene.complaints()
        found += complaints[self._complaints :][:3]
        self._complaints = len(complaints)
        if not dead:
            try:
                await self._scene.ready(AGAIN_SECS)
            except (AssertionError, Closed) as error:
                found.append(f"not ready: {error}")
        if not await self._bystander.is_served(AGAIN_SECS):
            found.append("the bystander is not served")
        return found


@asynccontextmanager
async def _under_way(home: Path, amount: Amount, *, tls: bool) -> AsyncIterator[Attack]:
    scene = Scene.tls(home, amount) if tls else Scene.plain(home, amount)
    with scene.cluster:
        scene.cluster.start()
        await scene.serving()
        async with Bystander(scene) as bystander:
            assert await bystander.is_served(AGAIN_SECS), bystander.failures
            yield Attack(scene, bystander)
