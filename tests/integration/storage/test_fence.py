"""A key that is always there ends the batch records: opening walks nothing that was deleted."""

from __future__ import annotations

from pathlib import Path

import plyvel

from cluster.storage.batches import FENCE
from cluster.storage.log_store import LogStore
from cluster.storage.state_store import StateStore


def has_fence(directory: Path) -> bool:
    with plyvel.DB(str(directory)) as database:
        return bool(database.get(FENCE[0]) == FENCE[1])


def test_every_new_database_has_the_fence(tmp_path: Path) -> None:
    LogStore.open(tmp_path / "log", tmp_path / "witness").close()
    StateStore.open(tmp_path / "state").close()
    assert has_fence(tmp_path / "log")
    assert has_fence(tmp_path / "state")
