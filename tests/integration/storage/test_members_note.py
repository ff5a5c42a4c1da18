"""L4: the newest set of members is known outside of the log before the log has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.storage.directory import DataDirectory
from cluster.storage.errors import StorageFailed
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore


def test_it_is_on_disk_before_the_entry_and_there_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DataDirectory.open(tmp_path / "n1", "n1") as directory:
        log = directory.open_log()
        log.write(LogBatch(entries=[(1, 0, b"\1")], term=1))
        assert directory.members == (0, 0)
        seen: list[int] = []
        note = DataDirectory.note_members

        def watched(self: DataDirectory, members: tuple[int, int]) -> None:
            seen.append(log.last_index)
            note(self, members)
            seen.append(log.last_index)

        monkeypatch.setattr(DataDirectory, "note_members", watched)
        log.write(LogBatch(entries=[(2, 1, b"\4")], members=(2, 1)))
        assert seen == [1, 1]
        log.write(LogBatch(entries=[(3, 1, b"\0")]))
        log.close()
    with DataDirectory.open(tmp_path / "n1", "n1") as directory:
        assert directory.members == (2, 1)
        assert directory.identity.log_created
        log = directory.open_log()
        assert log.note is directory
        log.close()


def test_where_it_cannot_be_noted_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: DataDirectory, members: tuple[int, int]) -> None:
        raise StorageFailed("the disk is full")

    with DataDirectory.open(tmp_path / "n1", "n1") as directory:
        log = directory.open_log()
        monkeypatch.setattr(DataDirectory, "note_members", full)
        with pytest.raises(StorageFailed):
            log.write(LogBatch(entries=[(1, 1, b"\4")], term=1, members=(1, 1)))
        log.close()
        again = LogStore.open(directory.log, directory.witness, create=False)
        assert again.last_index == 0
        again.close()
