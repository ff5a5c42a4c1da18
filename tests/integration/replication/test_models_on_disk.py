"""The models of journal and overlay once more, over real LevelDBs that are reopened at a crash."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis.stateful import precondition, rule

from cluster.storage.log_store import LogStore
from cluster.storage.state_store import StateStore
from tests.unit.replication.test_journal import JournalModel
from tests.unit.replication.test_overlay import OverlayModel


class JournalOnDisk(JournalModel):
    """Every batch is synced; a reopening checks all of it."""

    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.reopen_store()
        self.open()

    def reopen_store(self) -> None:
        self.store: Any = LogStore.open(self.root / "log", self.root / "witness")

    def close_store(self) -> None:
        self.store.close()

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.root)


TestJournalOnDisk = JournalOnDisk.TestCase
TestJournalOnDisk.settings = settings(max_examples=12, stateful_step_count=40)


class Door:
    """Stands before the state, which changes when it is reopened."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._model.state.get(key)
        return found

    def get_many(self, wanted: list[bytes]) -> Any:
        return self._model.state.get_many(wanted)

    def iterate(self, prefix: bytes = b"", start: bytes | None = None) -> Any:
        return self._model.state.iterate(prefix, start)


class ReopenedOverlay(OverlayModel):
    """The store is a real state, closed and opened again between two writes."""

    def make_store(self) -> Any:
        self.root = Path(tempfile.mkdtemp())
        self.state = StateStore.open(self.root / "state")
        self.index = 0
        self.write_store(dict(self.disk.state.values))
        return Door(self)

    def write_store(self, changes: dict[bytes, bytes | None]) -> None:
        self.index += 1
        self.state.write(changes, self.index, (1, 1), 0)

    def stored(self) -> dict[bytes, bytes]:
        return dict(self.state.iterate())

    @precondition(lambda self: hasattr(self, "state"))
    @rule()
    def reopen(self) -> None:
        self.state.close()
        self.state = StateStore.open(self.root / "state")
        assert self.state.index == self.index

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.state.close()
            shutil.rmtree(self.root)


TestReopenedOverlay = ReopenedOverlay.TestCase
TestReopenedOverlay.settings = settings(max_examples=15, stateful_step_count=40)
