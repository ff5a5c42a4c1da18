"""Whose folder is it, and is anything in it missing: answered before anything is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.storage.batches import FORMAT
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import (
    DataDamaged,
    FolderInUse,
    FolderRefused,
    NewerFormat,
    NoIdentity,
    OlderFormat,
    OtherNode,
)
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore, Opened
from tests.integration.storage import damage

HOLDER = """
import sys
from pathlib import Path
from cluster.storage.directory import DataDirectory
with DataDirectory.open(Path(sys.argv[1]), "n1"):
    print("held", flush=True)
    sys.stdin.read()
"""


def filled(root: Path, entries: int = 20) -> Path:
    with DataDirectory.open(root, "n1") as directory:
        log, state = directory.open_stores()
        log.write(LogBatch(term=1, vote="n1"))
        damage.write_entries(log, 1, entries)
        state.write({b"a": b"1"}, entries, (1, 1), 0)
        log.close()
        state.close()
    return root


def content(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in damage.content(root).items() if name != "lock"}


def test_a_folder_keeps_its_identity(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "data"
    with DataDirectory.open(root, "n1") as directory:
        first = directory.identity
        assert directory.free_bytes() > 0
    with DataDirectory.open(root, "n1") as directory:
        assert directory.identity == first
    assert len({first.disk_id, first.cluster_id}) == 2


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FolderInUse, match=f"in use by process {holder.pid};"):
        DataDirectory.open(tmp_path, "n1")
    holder.kill()
    holder.communicate()
    DataDirectory.open(tmp_path, "n1").close()


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path, "n1"), pytest.raises(FolderInUse, match=str(os.getpid())):
        DataDirectory.open(tmp_path, "n1")


@pytest.mark.parametrize("left", ["log", "state", "witness", "set-aside", "log.ready"])
def test_data_without_an_identity_is_not_taken_for_empty(tmp_path: Path, left: str) -> None:
    root = filled(tmp_path / "data")
    (root / "set-aside").mkdir()
    (root / "set-aside" / "x").write_bytes(b"x")
    if left == "log.ready":
        (root / "log").rename(root / "log.ready")
    for path in list(root.iterdir()):
        if path.name != left:
            path.rename(tmp_path / path.name)
    before = content(root)
    with pytest.raises(NoIdentity, match=left):
        DataDirectory.open(root, "n1")
    assert content(root) == before


def test_another_node_is_refused_by_both_names(tmp_path: Path) -> None:
    root = filled(tmp_path / "data")
    before = content(root)
    with pytest.raises(OtherNode, match="belongs to node n1, and this node is n2"):
        DataDirectory.open(root, "n2")
    assert content(root) == before


def test_a_newer_format_is_refused_unchanged(tmp_path: Path) -> None:
    root = filled(tmp_path / "data")
    body = json.loads((root / "node.json").read_text())
    body["format"] = 9
    (root / "node.json").write_text(json.dumps(body))
    before = content(root)
    with pytest.raises(NewerFormat, match=r"storage format 9.*up to 1"):
        DataDirectory.open(root, "n1")
    assert content(root) == before


def test_a_folder_of_an_older_format_is_refused_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for module in ("batches", "log_records", "state_records"):
            patch.setattr(f"cluster.storage.{module}.FORMAT", FORMAT - 1)
        root = filled(tmp_path / "data")
    before = content(root)
    told = f"has storage format {FORMAT - 1}, and this version reads format {FORMAT} only"
    with DataDirectory.open(root, "n1") as directory:
        with pytest.raises(OlderFormat, match=told):
            directory.open_stores()
        with pytest.raises(OlderFormat, match=told):
            directory.open_member_stores(listed=True)
    assert content(root) == before


@pytest.mark.parametrize("record", ["head", "entry"])
def test_a_newer_record_is_refused_before_anything_changes(
    tmp_path: Path, record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = filled(tmp_path / "data")
    log = LogStore.open(root / "log", root / "witness")
    import cluster.storage.log_records as records

    with monkeypatch.context() as patch:
        if record == "head":
            patch.setattr(records, "FORMAT", FORMAT + 1)
        else:
            encode = records.encode_entry
            patch.setattr(
                "cluster.storage.log_plan.encode_entry",
                lambda term, command: bytes((FORMAT + 1,)) + encode(term, command)[1:],
            )
        damage.write_entries(log, 21, 21)
    log.close()
    before = content(root)
    with (
        DataDirectory.open(root, "n1") as directory,
        pytest.raises(NewerFormat, match=f"data/log has storage format {FORMAT + 1}"),
    ):
        directory.open_stores()
    assert content(root) == before


@pytest.mark.parametrize("offset", [5, 30, 60, 120])
def test_a_damaged_identity_is_refused(tmp_path: Path, offset: int) -> None:
    root = filled(tmp_path / "data")
    damage.flip(root / "node.json", offset)
    before = content(root)
    with pytest.raises((DataDamaged, FolderRefused)) as caught:
        DataDirectory.open(root, "n1")
    assert "node.json" in str(caught.value)
    assert content(root) == before


@pytest.mark.parametrize("also", [[], ["witness"], ["state"], ["witness", "state"]])
def test_a_log_that_was_there_is_never_taken_for_new(tmp_path: Path, also: list[str]) -> None:
    root = filled(tmp_path / "data")
    for name in ["log", *also]:
        (root / name).rename(tmp_path / name)
    for _ in range(2):
        with (
            DataDirectory.open(root, "n1") as directory,
            pytest.raises(DataDamaged, match="the log is gone"),
        ):
            directory.open_stores()
    assert not (root / "log").exists()


def test_a_crash_while_the_first_log_is_made_leaves_a_usable_folder(tmp_path: Path) -> None:
    root = tmp_path / "data"
    DataDirectory.open(root, "n1").close()
    (root / "log.building").mkdir()
    (root / "log.building" / "half").write_bytes(b"x")
    LogStore.create(root / "log", root / "witness")
    (root / "log").rename(tmp_path / "elsewhere")  # the witness is there, the log not yet
    with DataDirectory.open(root, "n1") as directory:
        log, state = directory.open_stores()
        assert (log.opened, log.first_index, log.last_index) == (Opened.INTACT, 0, 0)
        assert state.index == 0
        log.close()
        state.close()
    assert not (root / "log.building").exists()


def test_a_renewed_log_carries_its_flags_from_the_first_batch_on(tmp_path: Path) -> None:
    root = filled(tmp_path / "data")
    with DataDirectory.open(root, "n1") as directory:
        log = directory.renew_log({"non_voting": 1})
        assert (log.flags, log.last_index, log.term) == ({"non_voting": 1}, 0, 0)
        log.write(LogBatch(term=4))
        log.close()
    with DataDirectory.open(root, "n1") as directory:
        log = directory.open_log()
        assert (log.flags, log.term, log.opened) == ({"non_voting": 1}, 4, Opened.INTACT)
        log.close()
    kept = sorted(path.name.split("-", 1)[1] for path in (root / "set-aside").iterdir())
    assert kept == ["log", "witness"]


def test_a_crash_while_the_log_is_renewed_is_still_a_missing_log(tmp_path: Path) -> None:
    root = filled(tmp_path / "data")
    with DataDirectory.open(root, "n1") as directory:
        directory.set_aside("log")
    with DataDirectory.open(root, "n1") as directory, pytest.raises(DataDamaged):
        directory.open_log()
    with DataDirectory.open(root, "n1") as directory:
        directory.set_aside("witness")
    with DataDirectory.open(root, "n1") as directory:
        with pytest.raises(DataDamaged):
            directory.open_log()
        directory.renew_log({"non_voting": 1}).close()


def test_an_interrupted_swap_is_finished_or_dropped(tmp_path: Path) -> None:
    root = filled(tmp_path / "data")
    damage.clone(root / "log", root / "log.ready")
    with DataDirectory.open(root, "n1") as directory:  # nothing was decided: the original stays
        assert not (root / "log.ready").exists()
        directory.open_log().close()
    (root / "log").rename(root / "log.ready")  # the original had been moved away
    with DataDirectory.open(root, "n1") as directory:
        log = directory.open_log()
        damage.assert_holds(log, 20)
        log.close()
