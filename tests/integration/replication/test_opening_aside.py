"""A folder takes seconds to be opened; the loop turns meanwhile, for probes, clients and links."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from cluster.replication import journal as journal_module
from cluster.storage.directory import DataDirectory
from tests.integration.replication.group import Members, members, until
from tests.integration.replication.test_member_life import SHORT_LOG, left_behind

# The loop stands still, if it does not turn so long. Seconds.
STANDS_SECS = 5.0


class Slow:
    """An opening that takes until the loop lets it go on. `entered`: it has begun."""

    def __init__(self) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.entered.set()
        assert self.go_on.wait(STANDS_SECS), "the loop stands still"


@contextmanager
def slow_opening(node_id: str, skip: int = 0) -> Iterator[Slow]:
    """The folder of that member, after the first `skip` openings."""
    slow, left = Slow(), [skip]
    open_stores = DataDirectory.open_member_stores

    def opening(self: DataDirectory, **named: Any) -> Any:
        if self.identity.node_id == node_id:
            left[0] -= 1
            if left[0] < 0:
                slow.wait()
        return open_stores(self, **named)

    with mock.patch.object(DataDirectory, "open_member_stores", opening):
        try:
            yield slow
        finally:
            slow.go_on.set()


def fails(group: Members, node_id: str) -> None:
    """Its folder is closed, and opened again."""
    keeper = group.replicas[node_id]._keeper
    keeper._open_again(keeper._after_a_failure)


async def test_after_a_failed_write(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        await group.all_hold(1)
        victim = await group.follower()
        with slow_opening(victim.node_id) as slow:
            fails(group, victim.node_id)
            await until(slow.entered.is_set)
            assert victim.unavailable() is not None
            await group.submit(2)
            slow.go_on.set()
            await group.all_hold(1, 2)


async def test_when_a_state_was_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MARK_SIZE", 500)
    async with members(tmp_path, **SHORT_LOG) as group:
        await left_behind(group, "n3")
        with slow_opening("n3", skip=1) as slow:
            await group.start("n3")
            await until(slow.entered.is_set)
            await group.submit(100)
            slow.go_on.set()
            await group.all_hold(1, 39, 100)


async def test_when_the_group_is_founded(tmp_path: Path) -> None:
    with slow_opening("n1") as slow:
        async with members(tmp_path) as group:
            await until(slow.entered.is_set)
            await group.submit(1)
            assert group.replicas["n1"].unavailable() is not None
            slow.go_on.set()
            await group.all_hold(1)


async def test_a_stop_waits_for_what_is_read_and_closes_it(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        await group.all_hold(1)
        node_id = (await group.follower()).node_id
        with slow_opening(node_id) as slow:
            fails(group, node_id)
            await until(slow.entered.is_set)
            stop = asyncio.create_task(group.stop(node_id))
            await asyncio.sleep(0.1)
            assert not stop.done(), "the folder is still in use"
            slow.go_on.set()
            await stop
        await group.start(node_id)
        await group.submit(2)
        await group.all_hold(1, 2)


async def test_a_stop_while_the_group_is_founded(tmp_path: Path) -> None:
    with slow_opening("n1") as slow:
        async with members(tmp_path) as group:
            await until(slow.entered.is_set)
            stop = asyncio.create_task(group.stop("n1"))
            await asyncio.sleep(0.1)
            assert not stop.done()
            slow.go_on.set()
            await stop
            await group.start("n1")
            await group.submit(1)
            await group.all_hold(1)
