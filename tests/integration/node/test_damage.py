"""A real node on a damaged folder: it serves all that was acknowledged, or it does not serve."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.live.node import LiveNode
from cluster.storage.wal import HEAD_SIZE
from cluster.storage.witness import SLOT_SPACING
from taskq import TaskqError
from tests.integration.node.conftest import COMPACTED
from tests.integration.node.filled import (
    Filled,
    assert_everything_is_there,
    assert_refused,
    assert_served,
    start,
)
from tests.integration.storage import damage
from tests.integration.storage.test_log_damage import (
    cut_last_record,
    emptied,
    flip_last,
    flip_last_length,
    half_record,
)

REPAIR = "taskq repair"
Harm = Callable[[Path], int]


def _middle(path: Path) -> int:
    """Number of a record well inside."""
    return len(damage.record_offsets(path)) // 2


def flip_middle(path: Path) -> int:
    offset = damage.record_offsets(path)[_middle(path)]
    damage.flip(path, offset + HEAD_SIZE + 20)
    return offset


def flip_middle_length(path: Path) -> int:
    return damage.flip_length(path, _middle(path))


def cut_middle(path: Path) -> int:
    offset = damage.record_offsets(path)[_middle(path)]
    damage.cut(path, offset + 10)
    return offset


def cut_between_records(path: Path) -> int:
    offset = damage.record_offsets(path)[_middle(path)]
    damage.cut(path, offset)
    return offset


def zero_middle(path: Path) -> int:
    offset = damage.record_offsets(path)[_middle(path)]
    data = bytearray(path.read_bytes())
    data[offset : offset + 600] = bytes(600)
    path.write_bytes(data)
    return offset


def zero_tail(path: Path) -> int:
    offset = damage.record_offsets(path)[-1]
    path.write_bytes(path.read_bytes()[: offset + HEAD_SIZE + 5] + bytes(4096))
    return offset


async def test_an_undamaged_folder_is_served(filled: Filled) -> None:
    log, state = damage.wal(filled.data / "log"), damage.wal(filled.data / "state")
    # What the damages below are made on: many records, and tables of the life before.
    assert len(damage.record_offsets(log)) > 50
    assert len(damage.record_offsets(state)) >= 3
    for folder in (log.parent, state.parent):
        assert list(folder.glob("*.ldb"))
    await assert_served(filled, times=2)


@pytest.mark.parametrize(
    "harm",
    [
        *(flip_middle, flip_last, flip_middle_length, flip_last_length, cut_last_record),
        *(cut_middle, cut_between_records, zero_tail, half_record, zero_middle, emptied),
    ],
)
async def test_damage_to_the_log_is_refused(filled: Filled, harm: Harm) -> None:
    """In the end, too: the witness knows that the last batch was synced."""
    path = damage.wal(filled.data / "log")
    offset = harm(path)
    ended = await assert_refused(filled, str(path), REPAIR)
    named = int(ended.why.split("byte ")[1].split(":")[0])
    assert offset - 7 <= named <= offset


@pytest.mark.parametrize("rest", [b"\xa5" * 700, bytes(4096)], ids=["garbage", "zeros"])
@pytest.mark.parametrize("name", ["log", "state"])
async def test_what_never_was_a_batch_is_cut_off(filled: Filled, name: str, rest: bytes) -> None:
    path = damage.wal(filled.data / name)
    path.write_bytes(path.read_bytes() + rest)
    await assert_served(filled)
    kept = [file.read_bytes() for file in (filled.data / "set-aside").iterdir()]
    assert rest in kept


async def test_half_a_batch_after_the_end_is_cut_off(filled: Filled) -> None:
    """What a crash in the middle of a write leaves."""
    path = damage.wal(filled.data / "log")
    whole = path.read_bytes()
    last = damage.record_offsets(path)[-1]
    path.write_bytes(whole + whole[last : last + HEAD_SIZE + 20])
    await assert_served(filled)


@pytest.mark.parametrize("harm", [flip_middle, flip_middle_length, zero_middle])
async def test_damage_within_the_state_is_refused(filled: Filled, harm: Harm) -> None:
    path = damage.wal(filled.data / "state")
    offset = harm(path)
    await assert_refused(filled, f"{path}, byte {offset}", REPAIR)


@pytest.mark.parametrize(
    "harm",
    [
        *(flip_last, flip_last_length, cut_last_record, cut_middle, cut_between_records),
        *(zero_tail, half_record, emptied),
    ],
)
async def test_a_state_without_its_end_is_made_up_from_the_log(filled: Filled, harm: Harm) -> None:
    harm(damage.wal(filled.data / "state"))
    await assert_served(filled)


async def test_a_lost_state_is_built_again_from_the_log(filled: Filled) -> None:
    shutil.rmtree(filled.data / "state")
    await assert_served(filled)


@pytest.mark.parametrize("harm", ["cut", "lost"])
async def test_a_state_that_the_log_cannot_make_up_is_refused(
    compacted: Filled, tmp_path: Path, harm: str
) -> None:
    filled = compacted.clone(tmp_path)
    state = filled.data / "state"
    if harm == "cut":
        for path in sorted(state.glob("*.log")):
            damage.cut(path, 0)
    else:
        shutil.rmtree(state)
    await assert_refused(filled, str(state), "the log starts at", REPAIR, settings=COMPACTED)


@pytest.mark.parametrize("folder", ["log", "state"])
@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST", "ldb"])
async def test_a_lost_file_is_refused(filled: Filled, folder: str, name: str) -> None:
    path = max(file for file in (filled.data / folder).iterdir() if name in file.name)
    path.unlink()
    await assert_refused(filled, str(path), REPAIR)


@pytest.mark.parametrize("folder", ["log", "state"])
@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST", "ldb"])
async def test_a_file_cut_to_half_is_refused(filled: Filled, folder: str, name: str) -> None:
    path = max(file for file in (filled.data / folder).iterdir() if name in file.name)
    damage.cut(path, path.stat().st_size // 2)
    await assert_refused(filled, str(filled.data / folder), REPAIR)


async def test_a_lost_log_is_refused(filled: Filled) -> None:
    shutil.rmtree(filled.data / "log")
    await assert_refused(filled, str(filled.data / "log"), REPAIR)


async def test_a_lost_log_and_witness_are_refused(filled: Filled) -> None:
    shutil.rmtree(filled.data / "log")
    (filled.data / "witness").unlink()
    await assert_refused(filled, str(filled.data / "log"), REPAIR)


async def test_a_flipped_bit_in_a_table_of_the_log_is_refused(filled: Filled) -> None:
    path = max((filled.data / "log").glob("*.ldb"), key=lambda file: file.stat().st_size)
    damage.flip(path, path.stat().st_size // 3)
    await assert_refused(filled, str(path), REPAIR)


async def test_flipped_bits_in_a_table_of_the_state_are_never_served(filled: Filled) -> None:
    """The state is not read as a whole at the start: what is damaged ends the node when it is
    met, with the file and the offset, and no answer is made of it."""
    path = max((filled.data / "state").glob("*.ldb"), key=lambda file: file.stat().st_size)
    for offset in range(1000, path.stat().st_size - 1000, 2000):  # every block of it
        damage.flip(path, offset)
    with LiveNode(filled.home) as node:
        ended = await start(node)
        if ended is None:
            with pytest.raises(TaskqError):
                await assert_everything_is_there(node.url, filled, patience_secs=3)
            node.wait(10)
        assert node.returncode in (1, 70)
        assert f"{path}, byte " in node.log_tail(20_000)


@pytest.mark.parametrize("slots", [(0,), (1,), (0, 1)], ids=str)
async def test_a_damaged_witness_hides_nothing(filled: Filled, slots: tuple[int, ...]) -> None:
    for slot in slots:
        damage.flip(filled.data / "witness", slot * SLOT_SPACING + 7)
    await assert_served(filled)


async def test_a_lost_witness_hides_nothing(filled: Filled) -> None:
    (filled.data / "witness").unlink()
    await assert_served(filled)


async def test_a_lost_identity_is_refused(filled: Filled) -> None:
    (filled.data / "node.json").unlink()
    await assert_refused(filled, str(filled.data), "node.json", "persistence.data_dir")


async def test_a_changed_identity_is_refused(filled: Filled) -> None:
    path = filled.data / "node.json"
    path.write_bytes(path.read_bytes().replace(b'"cluster_id": "', b'"cluster_id": "0'))
    await assert_refused(filled, str(path), "checksum")


async def test_a_folder_of_a_newer_version_is_refused(filled: Filled) -> None:
    path = filled.data / "node.json"
    body = json.loads(path.read_bytes())
    path.write_text(json.dumps({**body, "format": 2}))
    await assert_refused(filled, str(path), "format 2", "start the newer version")
