"""A12 over real stores: logs as a repair or a restored backup leaves them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.replication.continuation import LogConflict
from cluster.storage.directory import DataDirectory
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore
from taskq.errors import Refusal
from tests.integration.replication.node import holds, make, running


async def use(path: Path, first: int, last: int) -> None:
    async with running(path) as (_, client):
        for number in range(first, last + 1):
            assert not isinstance(await client.submit(number), Refusal)


def ends(path: Path) -> tuple[int, int, int]:
    """First and last entry of the log, index of the state."""
    with DataDirectory.open(path, "n1") as directory:
        log, state = directory.open_stores()
        found = (log.first_index, log.last_index, state.index)
        log.close()
        state.close()
    return found


async def test_a_clean_stop_leaves_log_and_state_at_one_index(tmp_path: Path) -> None:
    for turn, interval in enumerate((0.0, 5.0, 5.0, 0.0)):
        async with running(tmp_path / "d", sync_interval_secs=interval) as (_, client):
            for number in range(turn * 10, turn * 10 + 10):
                assert not isinstance(await client.submit(number), Refusal)
        first, last, index = ends(tmp_path / "d")
        assert (first, index) == (1, last)
    async with running(tmp_path / "d") as (replica, _):
        assert all(holds(replica, number) for number in range(40))
        assert replica.term == 5


@pytest.mark.parametrize("kept", [0, 3])
async def test_a_log_that_ends_before_the_state_is_rebased(tmp_path: Path, kept: int) -> None:
    """An older log and its witness, restored over a newer folder; or an empty one."""
    path = tmp_path / "d"
    await use(path, 1, kept or 1)
    older = tmp_path / "older"
    older.mkdir()
    if kept:
        shutil.copytree(path / "log", older / "log")
        shutil.copy(path / "witness", older / "witness")
    else:
        LogStore.create(older / "log", older / "witness")
    await use(path, 10, 20)
    _, last, index = ends(path)
    shutil.rmtree(path / "log")
    (path / "witness").unlink()
    shutil.copytree(older / "log", path / "log")
    shutil.copy(older / "witness", path / "witness")
    assert ends(path)[1] < index == last
    for number in range(30, 34):
        await use(path, number, number)
        assert ends(path)[0] == index - 1
        assert ends(path)[1] == ends(path)[2]
    async with running(path) as (replica, _):
        assert all(holds(replica, number) for number in [*range(10, 21), *range(30, 34)])
        replica.machine.check()


async def test_a_log_of_another_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "d"
    await use(path, 1, 5)
    _, last, index = ends(path)
    shutil.rmtree(path / "log")
    (path / "witness").unlink()
    log = LogStore.open(path / "log", path / "witness")
    entries = [(number, number // 2, b"\1") for number in range(1, index + 5)]
    log.write(LogBatch(entries=entries, term=100, vote="n1"))
    log.close()
    with (
        DataDirectory.open(path, "n1") as directory,
        pytest.raises(LogConflict, match=f"entry {index} has term"),
    ):
        await make(directory).start()
    assert ends(path) == (1, last + 4, index)
