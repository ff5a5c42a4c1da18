"""A data folder that a real node filled through its clients and was killed over; what it must say.

Two lives of one node: the first leaves tables, the second write-ahead files with many records.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from chaos.live.node import LiveNode
from taskq import AsyncClient, NotFound
from taskq.results import TaskState
from tests.integration.storage import damage

# Rounds of work in each life and the least time for one: as the state is written once a second,
# the second life leaves several batches of it.
ROUNDS = (30, 90)
ROUND_SECS = 0.035
# The lock holds the process id of its last owner as text, and is no data.
NO_DATA = {"lock"}


@dataclass
class Filled:
    """`home`: where `data` is. `states`, `results`: what was acknowledged, by task id."""

    home: Path
    states: dict[str, str] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)

    def clone(self, home: Path) -> Filled:
        """The same in another place, to be damaged."""
        home.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.home / "data", home / "data")
        return Filled(home, self.states, self.results)

    @property
    def data(self) -> Path:
        return self.home / "data"

    def content(self) -> dict[str, bytes]:
        """Every byte that is data."""
        found = damage.content(self.data)
        return {name: value for name, value in found.items() if name not in NO_DATA}


async def fill(home: Path, settings: Mapping[str, Any] | None = None) -> Filled:
    """A folder that holds waiting, scheduled, running, completed, dead and cancelled tasks."""
    filled = Filled(home)
    for rounds in ROUNDS:
        with LiveNode(home, settings) as node:
            node.spawn()
            await node.serving()
            async with AsyncClient(node.url) as client:
                for _ in range(rounds):
                    await _some(client, filled)
                    await asyncio.sleep(ROUND_SECS)
            node.kill()
    return filled


async def _some(client: AsyncClient, filled: Filled) -> None:
    """One task of each fate; noted only once acknowledged."""
    states, worker = filled.states, client.worker()
    waiting = await client.submit("waits", b"w" * 1500)
    states[str(waiting.id)] = "READY"
    scheduled = await client.submit("waits", b"s", delay=3600)
    states[str(scheduled.id)] = "SCHEDULED"
    cancelled = await client.submit("waits", b"c")
    await client.cancel(cancelled.id)
    states[str(cancelled.id)] = "CANCELLED"
    for _ in range(3):
        await client.submit("runs", b"r" * 100)
    done, dead, held = await worker.claim(["runs"], 3, lease=3600)
    result = b"result of " + done.task_id
    await worker.complete(done, result)
    await worker.fail(dead, "no luck", retry=False)
    for task, state in ((done, "COMPLETED"), (dead, "DEAD"), (held, "LEASED")):
        states[_text(task.task_id)] = state
    filled.results[_text(done.task_id)] = result


def _text(task_id: bytes) -> str:
    return str(UUID(bytes=task_id))


async def assert_everything_is_there(url: str, filled: Filled, patience_secs: float = 20) -> None:
    """The node at `url` holds every acknowledged task as it was acknowledged, and counts them."""
    async with AsyncClient(url, timeout=patience_secs) as client:
        views = {str(view.id): view async for view in client.tasks()}
        missing = filled.states.keys() - views.keys()
        assert not missing, f"{len(missing)} of {len(filled.states)} acknowledged tasks are gone"
        for task_id, state in filled.states.items():
            found = views[task_id].state
            # Its worker is dead after 30 s; then it is ready again.
            allowed = {state, "READY"} if state == "LEASED" else {state}
            assert found.name in allowed, f"{task_id} is {found.name}, was {state}"
        for task_id, result in filled.results.items():
            assert await client.result(task_id) == result
        stats = await client.stats()
        assert stats.totals["submitted"] == len(views) == sum(stats.states.values())
        assert stats.totals["completed"] == len(filled.results)
        # It goes on: a submit is taken and comes out again.
        handle = await client.submit("afterwards", b"x")
        assert (await client.status(handle.id)).state is TaskState.READY
        try:
            await client.status("00000000-0000-7000-8000-000000000000")
            raise AssertionError("a task that never was is known")
        except NotFound:
            pass


@dataclass
class Refusal:
    """How a node that did not start ended: exit code, its words, seconds until then."""

    returncode: int
    why: str
    secs: float


async def start(node: LiveNode) -> Refusal | None:
    """Starts a node; None if it serves, else how it ended. Raises if it does neither in 30 s."""
    node.spawn()
    while node.running:
        if node.has_served():
            return None
        assert time.monotonic() - node.spawned_at < 30, "neither serves nor ends"
        await asyncio.sleep(0.01)
    assert node.returncode is not None
    errors = [line for line in node.log_lines() if line.get("level") in ("error", "critical")]
    why = " ".join(str(line.get("why", line)) for line in errors)
    return Refusal(node.returncode, why or node.log_tail(), time.monotonic() - node.spawned_at)


async def assert_refused(filled: Filled, *words: str, settings: Any = None) -> Refusal:
    """The folder is refused: exit code 1, soon, by a message with all `words`; and not a byte of it
    changes, nor does a name."""
    before = filled.content()
    with LiveNode(filled.home, settings) as node:
        node.log.unlink(missing_ok=True)
        ended = await start(node)
        assert ended is not None, "it serves"
    assert ended.returncode == 1, ended.why
    assert ended.secs < 10
    for word in words:
        assert word in ended.why, f"{word!r} is not in: {ended.why}"
    assert "Traceback" not in node.log_tail()
    after = filled.content()
    assert sorted(after) == sorted(before)
    assert [name for name in before if before[name] != after[name]] == []
    return ended


async def assert_served(filled: Filled, settings: Any = None, times: int = 1) -> None:
    """The node serves everything, as often as it is killed and started again."""
    with LiveNode(filled.home, settings) as node:
        for _ in range(times):
            ended = await start(node)
            assert ended is None, ended.why
            await assert_everything_is_there(node.url, filled)
            node.kill()
