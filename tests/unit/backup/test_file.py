"""A backup file: what comes back is what went in; whatever was changed or cut is found."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.backup.contents import Contents
from taskq.backup.file_format import CHUNK, END, MAGIC, RECORD, START, Head, NotWhole, pack_record
from taskq.backup.reading import BackupReader
from taskq.backup.writing import BackupWriter
from taskq.machine import keys
from taskq.pairs import pack_pair
from tests.small_files import no_file_beyond
from tests.unit.server.rig import Rig, claim, submit

HEAD = Head("c" * 32, "node1", "1.2.3", 77, (4, 5), 2**32 - 1, 3, 1, False, 1_800_000_000_000)


def written(path: Path, chunks: list[bytes]) -> bytes:
    with BackupWriter(path) as writer:
        writer.begin(HEAD)
        for chunk in chunks:
            writer.add(chunk)
        writer.finish()
    return path.read_bytes()


def read(data: bytes) -> list[bytes]:
    return list(BackupReader(io.BytesIO(data)).chunks())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    chunks = [b"first chunk", b"x" * 300, bytes(5)]
    return written(tmp_path_factory.mktemp("kept") / "file", chunks)


@given(chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=6))
def test_what_comes_back_is_what_went_in(
    chunks: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = written(tmp_path_factory.mktemp("file") / "b", chunks)
    reader = BackupReader(io.BytesIO(data))
    assert reader.head == HEAD
    assert list(reader.chunks()) == chunks
    assert reader.size == len(data)


def test_every_flipped_bit_is_found(whole: bytes) -> None:
    assert len(read(whole)) == 3
    for position in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            with pytest.raises(NotWhole):
                read(bytes(changed))


def test_every_cut_is_found(whole: bytes) -> None:
    for size in range(len(whole)):
        with pytest.raises(NotWhole):
            read(whole[:size])


def records_of(whole: bytes) -> list[bytes]:
    """The start, the head, the chunks, the end."""
    found, at = [whole[: len(START)]], len(START)
    while at < len(whole):
        size = RECORD.size + RECORD.unpack_from(whole, at)[1]
        found.append(whole[at : at + size])
        at += size
    return found


@pytest.mark.parametrize(
    "order", [(0, 1, 2, 4, 5), (0, 1, 2, 2, 3, 4, 5), (0, 1, 3, 2, 4, 5), (0, 1, 5), (0, 1, 1, 5)]
)
def test_whole_records_that_are_missing_doubled_or_moved_are_found(
    whole: bytes, order: tuple[int, ...]
) -> None:
    records = records_of(whole)
    assert len(records) == 6
    assert b"".join(records) == whole
    with pytest.raises(NotWhole):
        read(b"".join(records[place] for place in order))


@given(more=st.binary(min_size=1, max_size=20))
def test_what_follows_the_end_is_found(whole: bytes, more: bytes) -> None:
    with pytest.raises(NotWhole):
        read(whole + more)


@given(data=st.data())
def test_parts_of_it_in_another_order_are_found(whole: bytes, data: st.DataObject) -> None:
    a, b, c = sorted(data.draw(st.integers(0, len(whole))) for _ in range(3))
    mixed = whole[:a] + whole[b:c] + whole[a:b] + whole[c:]
    if mixed != whole:
        with pytest.raises(NotWhole):
            read(mixed)


@given(data=st.binary(max_size=200))
def test_any_other_bytes_are_no_backup(data: bytes) -> None:
    for start in (b"", START):
        with pytest.raises(NotWhole):
            read(start + data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends at byte 0"),
        (b"PK\3\4" + bytes(90), "no backup"),
        (MAGIC + b"\0\2" + bytes(90), "format 2, and this version reads format 1"),
        (START + pack_record(CHUNK, b"") + b"", "begins with a record"),
        (START + pack_record(END, b"") + b"", "begins with a record"),
        (START + b"H\xff\xff\xff\xff" + bytes(4), "damaged"),
        (START + pack_record(b"H", b"{}") + b"{}", "head is unreadable"),
    ],
)
def test_it_says_why(data: bytes, why: str) -> None:
    with pytest.raises(NotWhole, match=why):
        read(data)


def test_a_later_version_may_add_to_the_head(tmp_path: Path, whole: bytes) -> None:
    _, _, rest = whole.partition(b"{")
    body = json.loads(b"{" + rest[: rest.index(b"}") + 1]) | {"later": [1]}
    text = json.dumps(body).encode()
    assert BackupReader(io.BytesIO(START + pack_record(b"H", text) + text)).head == HEAD


# --- writing --------------------------------------------------------------------------------------


def test_who_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with BackupWriter(tmp_path / "b") as writer:
            writer.begin(HEAD)
            writer.add(b"chunk")
            assert not (tmp_path / "b").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_told_and_nothing_left(tmp_path: Path) -> None:
    with no_file_beyond(1_000), pytest.raises(OSError, match="File too large"):
        written(tmp_path / "b", [bytes(500)] * 100)
    assert not list(tmp_path.iterdir())


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    written(tmp_path / "b", [b"x"])
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "b"
    first = written(path, [b"first"])
    with pytest.raises(FileExistsError):
        BackupWriter(path)
    assert path.read_bytes() == first
    with BackupWriter(path, overwrite=True) as writer:
        writer.begin(HEAD)
        assert path.read_bytes() == first
        writer.finish()
    assert read(path.read_bytes()) == []
    assert [one.name for one in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_will_not_do_is_named_and_no_partial_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        BackupWriter(tmp_path / "no" / "such" / "x")
    assert raised.value.filename == str(tmp_path / "no" / "such")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as refused:
        BackupWriter(tmp_path / "file" / "x", overwrite=True)
    assert refused.value.filename == str(tmp_path / "file")


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with BackupWriter(path) as writer:
        writer.begin(HEAD)
        path.write_text("of somebody else")
        with pytest.raises(FileExistsError):
            writer.finish()
    assert path.read_text() == "of somebody else"
    assert [one.name for one in tmp_path.iterdir()] == ["b"]


def test_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    class Out:
        buffer = io.BytesIO()

    monkeypatch.setattr(sys, "stdout", Out)
    with BackupWriter(None) as writer:
        writer.begin(HEAD)
        writer.add(b"x")
        writer.finish()
    assert read(Out.buffer.getvalue()) == [b"x"]


# --- contents -------------------------------------------------------------------------------------


def filled() -> dict[bytes, bytes]:
    """The pairs of a state with tasks ready, scheduled and leased."""
    rig = Rig()
    peer = rig.peer()
    for number in range(7):
        peer.ask(submit(number))
    peer.ask(submit(8, delay_ms=1000))
    peer.ask(claim(max_tasks=2))
    view = rig.replica.machine._state.view
    return dict(view.values)  # type: ignore[attr-defined]


def chunks_of(pairs: dict[bytes, bytes], size: int = 3) -> list[bytes]:
    packed = [pack_pair(*pair) for pair in sorted(pairs.items())]
    return [b"".join(packed[at : at + size]) for at in range(0, len(packed), size)]


def counted(pairs: dict[bytes, bytes]) -> Contents:
    contents = Contents()
    for chunk in chunks_of(pairs):
        contents.add(chunk)
    return contents


def test_tasks_are_counted_as_the_state_counts_them() -> None:
    contents = counted(filled())
    contents.check()
    assert {name: count for name, count in contents.states.items() if count} == {
        "scheduled": 1,
        "ready": 5,
        "leased": 2,
    }
    assert (contents.tasks, contents.queues, contents.workers) == (8, 1, 1)


def test_a_task_that_is_missing_is_found() -> None:
    pairs = filled()
    del pairs[next(key for key in pairs if key.startswith(keys.TASK))]
    with pytest.raises(NotWhole, match="the state counts"):
        counted(pairs).check()


def test_records_of_another_version_are_told() -> None:
    pairs = filled()
    clocks = bytearray(pairs[keys.CLOCKS])
    clocks[1] = 9
    with pytest.raises(NotWhole, match="records are of format 9"):
        counted(pairs | {keys.CLOCKS: bytes(clocks)})


def test_what_is_no_state_is_told() -> None:
    for chunk in (b"\0", pack_pair(keys.TASK + bytes(16), b""), pack_pair(keys.CLAIM, b"\x91")):
        with pytest.raises(NotWhole, match="no state that can be read"):
            Contents().add(chunk)
