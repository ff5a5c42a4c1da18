"""Damage at rest hits what it names, and one bit or one end of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chaos.live.rot import CUT, FLIP, IDENTITY, PLACES, Place, damage
from cluster.storage.wal import Reader, frame_records
from cluster.storage.witness import SLOT_SIZE, SLOT_SPACING

RECORDS = [bytes([number]) * 500 for number in range(20)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("log", "state"):
        (tmp_path / part).mkdir()
        for name in ("000007.log", "MANIFEST-000003"):
            (tmp_path / part / name).write_bytes(frame_records(RECORDS))
        (tmp_path / part / "000005.ldb").write_bytes(b"t" * 1000)
        (tmp_path / part / "CURRENT").write_bytes(b"MANIFEST-000003\n")
    slot = b"s" * SLOT_SIZE
    (tmp_path / "witness").write_bytes(slot.ljust(SLOT_SPACING, b"\0") + slot)
    (tmp_path / "node.json").write_bytes(b"{}")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flipped(before: bytes, after: bytes) -> tuple[int, int]:
    """Where one byte differs, and in how many bits."""
    assert len(before) == len(after)
    (at,) = (place for place in range(len(before)) if before[place] != after[place])
    return at, (before[at] ^ after[at]).bit_count()


@pytest.mark.parametrize("place", [*PLACES, IDENTITY], ids=lambda place: place.name)
def test_one_bit_of_one_file_of_that_kind(folder: Path, place: Place) -> None:
    before = contents(folder)
    done = damage(folder, place, FLIP, random.Random(1))
    assert done is not None
    after = contents(folder)
    (path,) = (path for path in before if before[path] != after[path])
    assert path in folder.glob(place.pattern)
    at, bits = flipped(before[path], after[path])
    assert bits == 1
    offsets = [record.offset for record in Reader(before[path]).records()]
    if "a length" in place.name:
        assert any(at - offset in (4, 5) for offset in offsets)
    elif "the end of a write-ahead" in place.name or "the end of the manifest" in place.name:
        assert at >= offsets[-1]
    elif "slot" in place.name:
        assert at % SLOT_SPACING < SLOT_SIZE
    elif "the end of a table" in place.name:
        assert at >= 1000 - 48
    done.mend()
    assert contents(folder) == before


def test_what_came_in_its_place_is_left_alone(folder: Path) -> None:
    done = damage(folder, IDENTITY, FLIP, random.Random(1))
    assert done is not None
    (folder / "new").write_bytes(b"[]")
    (folder / "new").rename(done.path)
    done.mend()
    assert done.path.read_bytes() == b"[]"
    done.path.unlink()
    done.mend()


def test_a_cut_file_ends_there(folder: Path) -> None:
    (place,) = (one for one in PLACES if one.name == "log: a value in a write-ahead file")
    before = contents(folder)
    assert damage(folder, place, CUT, random.Random(1))
    path = folder / "log" / "000007.log"
    after = path.read_bytes()
    assert 0 < len(after) < len(before[path])
    assert before[path].startswith(after)


def test_where_there_is_no_such_file_nothing_is_done(tmp_path: Path) -> None:
    for place in PLACES:
        assert damage(tmp_path, place, FLIP, random.Random(1)) is None
