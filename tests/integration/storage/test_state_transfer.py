"""A state leaves one node in chunks and becomes another's, exactly, or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged, NoIdentity, StorageFailed
from cluster.storage.incoming_state import IncomingState
from cluster.storage.repair import examine, repair
from cluster.storage.state_store import StateStore
from taskq.pairs import pack_pair, unpack_pairs
from tests.integration.storage import damage
from tests.integration.storage.members import (
    STATE_INDEX,
    assert_state,
    build_member,
    flag,
    opened,
)
from tests.integration.storage.test_crash import FailingHandle

KIB = 1024


def pairs_of(count: int) -> dict[bytes, bytes]:
    """Recognisable pairs of all shapes: empty keys and values, bytes that look like records."""
    pairs = {b"k%06d" % i: damage.command(i, i % 97) for i in range(count - 3)}
    return {b"": b"", b"b\0\0\0\0\0\0\0\1": b"b", b"\xff" * 9: b"e", **pairs}


def filled(root: Path, count: int, index: int = 7) -> StateStore:
    state = StateStore.open(root)
    state.write(dict(pairs_of(count)), index, (2, 3), 77)
    return state


def export_of(root: Path, count: int, size: int = 4 * KIB) -> tuple[StateStore, list[bytes]]:
    state = filled(root, count)
    export = state.export()
    chunks = list(iter(lambda: export.read(size), b""))
    export.close()
    state.close()
    return state, chunks


def unpacked(chunks: list[bytes]) -> dict[bytes, bytes]:
    pairs: list[tuple[bytes, bytes]] = []
    for chunk in chunks:
        pairs += unpack_pairs(chunk, pairs[-1][0] if pairs else None)
    return dict(pairs)


@pytest.mark.parametrize("size", [1, 100, 4 * KIB, 1024 * KIB])
def test_an_export_holds_every_pair_in_chunks_of_the_size(tmp_path: Path, size: int) -> None:
    state = filled(tmp_path / "state", 2_000)
    export = state.export()
    assert (export.index, export.terms, export.digest) == (7, (2, 3), 77)
    chunks = list(iter(lambda: export.read(size), b""))
    assert unpacked(chunks) == pairs_of(2_000)
    assert all(size <= len(chunk) < size + 130 for chunk in chunks[:-1])
    assert export.read(size) == b""
    export.close()
    export.close()
    state.close()


def test_an_empty_state_is_exported_as_nothing(tmp_path: Path) -> None:
    state = StateStore.open(tmp_path / "state")
    export = state.export()
    assert (export.index, export.terms, export.read(KIB)) == (0, (0, 0), b"")
    state.close()


def test_an_export_stays_as_it_was_while_the_state_is_written(tmp_path: Path) -> None:
    """Written, deleted and compacted from another thread."""
    state = filled(tmp_path / "state", 5_000)
    exports = [state.export() for _ in range(2)]
    stop = threading.Event()
    written = []

    def write() -> None:
        index = state.index
        while not stop.is_set():
            index += 1
            changes: dict[bytes, bytes | None] = {b"k%06d" % (index % 5_000): None}
            state.write({**changes, b"new%d" % index: bytes(2_000)}, index, (3, 3), 0)
            written.append(index)
        state.compact()

    writer = threading.Thread(target=write)
    writer.start()
    chunks = []
    while chunk := exports[0].read(8 * KIB):
        chunks.append(chunk)
        while len(written) < len(chunks):  # a write between any two reads
            assert writer.is_alive()
    stop.set()
    writer.join()
    assert unpacked(chunks) == pairs_of(5_000)
    assert unpacked(list(iter(lambda: exports[1].read(64 * KIB), b""))) == pairs_of(5_000)
    assert exports[1].index == 7
    later = state.export()
    assert (later.index, later.terms) == (written[-1], (3, 3))
    assert unpacked(list(iter(lambda: later.read(64 * KIB), b""))) == dict(state.iterate())
    state.close()


def test_closing_the_state_ends_its_exports_with_an_error_and_not_as_an_end(
    tmp_path: Path,
) -> None:
    """Also while one of them is being read in another thread."""
    state = filled(tmp_path / "state", 50_000)
    exports = [state.export() for _ in range(2)]
    ends: list[bytes | str] = []
    began = threading.Event()

    def read() -> None:
        try:
            while exports[0].read(1):
                began.set()
            ends.append(b"")
        except StorageFailed as error:
            ends.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(5)
    state.close()
    reader.join()
    assert ends == ["the state was closed while it was exported"]
    for export in exports * 2:
        with pytest.raises(StorageFailed, match="closed"):
            export.read(KIB)
    with pytest.raises(StorageFailed, match="closed"):
        state.export()
    state.close()


def test_damage_that_an_export_meets_is_told_each_time(tmp_path: Path) -> None:
    filled(tmp_path / "state", 20_000).close()
    state = StateStore.open(tmp_path / "state")  # all of it in tables now
    for table in (tmp_path / "state").glob("*.ldb"):
        damage.flip(table, table.stat().st_size // 2)
    export = state.export()
    with pytest.raises(DataDamaged) as caught:
        list(iter(lambda: export.read(64 * KIB), b""))
    assert caught.value.path.suffix == ".ldb"
    with pytest.raises(DataDamaged):
        export.read(64 * KIB)
    state.close()


def test_a_received_state_takes_the_place_at_the_next_opening(tmp_path: Path) -> None:
    root = build_member(tmp_path / "member", cut=True)
    _, chunks = export_of(tmp_path / "source", 3_000)
    with DataDirectory.open(root, "n1") as directory:
        stores = directory.open_member_stores(listed=True)
        incoming = directory.begin_state(500, (3, 4), 77)
        for chunk in chunks:
            incoming.add(chunk)
        incoming.finish()
        assert incoming.size == sum(map(len, chunks))
        assert_state(stores.state, STATE_INDEX)  # which goes on being used, and written
        stores.state.write({b"more": b"1"}, 41, (1, 1), 0)
        stores.log.close()
        stores.state.close()
        stores = directory.open_member_stores(listed=True)
        state = stores.state
        assert (state.index, state.terms, state.digest) == (500, (3, 4), 77)
        assert dict(stores.state.iterate()) == pairs_of(3_000)
        assert (flag(stores.log), stores.loss) == (0, "")
        assert stores.log.last_index == 60
        stores.state.write({b"k000001": None}, 501, (4, 4), 0)
        stores.log.close()
        stores.state.close()
        assert {path.name for path in root.iterdir()} == {
            *("lock", "log", "node.json", "state", "witness")
        }


def test_a_received_state_is_a_state_like_any_other(tmp_path: Path) -> None:
    """Written on, reopened, torn in its end, exported again."""
    root = tmp_path / "member"
    _, chunks = export_of(tmp_path / "source", 3_000)
    with DataDirectory.open(root, "n1") as directory:
        incoming = directory.begin_state(500, (3, 4), 0)
        for chunk in chunks:
            incoming.add(chunk)
        incoming.finish()
    with opened(root) as stores:
        for index in range(501, 521):
            stores.state.write({b"later": b"%d" % index}, index, (4, 4), 0)
    path = damage.wal(root / "state")
    damage.cut(path, path.stat().st_size - 10)
    state = StateStore.open(root / "state")
    assert (state.index, state.torn) == (519, True)
    assert dict(state.iterate()) == {**pairs_of(3_000), b"later": b"519"}
    export = state.export()
    assert (export.index, unpacked(list(iter(lambda: export.read(KIB), b"")))) == (
        519,
        dict(state.iterate()),
    )
    state.close()


BAD_CHUNKS = [
    b"",
    b"\0",
    pack_pair(b"z1", b"1")[:-1],
    pack_pair(b"z1", b"1") + b"\0\0",
    pack_pair(b"z1", b"1") + pack_pair(b"z0", b"1"),
    pack_pair(b"a", b"older"),
]


@pytest.mark.parametrize("bad", BAD_CHUNKS)
def test_a_malformed_chunk_is_refused_whole(tmp_path: Path, bad: bytes) -> None:
    incoming = IncomingState(tmp_path / "state", 9, (1, 1), 0)
    incoming.add(pack_pair(b"m", b"1"))
    with pytest.raises(ValueError, match="chunk"):
        incoming.add(bad)
    incoming.add(pack_pair(b"n", b"2"))
    incoming.finish()
    (tmp_path / "state.received").rename(tmp_path / "state")
    state = StateStore.open(tmp_path / "state")
    assert dict(state.iterate()) == {b"m": b"1", b"n": b"2"}
    assert incoming.size == 2 * len(pack_pair(b"m", b"1"))
    state.close()


def test_out_of_turn(tmp_path: Path) -> None:
    incoming = IncomingState(tmp_path / "state", 9, (1, 1), 0)
    incoming.finish()
    for call in (incoming.finish, lambda: incoming.add(pack_pair(b"a", b""))):
        with pytest.raises(ValueError, match="finished or discarded"):
            call()
    incoming.discard()
    incoming.discard()
    with pytest.raises(ValueError, match="finished or discarded"):
        incoming.finish()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="index 0"):
        IncomingState(tmp_path / "state", 0, (0, 0), 0)


def test_a_disk_that_refuses_a_chunk_leaves_the_state_in_use_alone(tmp_path: Path) -> None:
    root = build_member(tmp_path / "member", cut=False)
    with DataDirectory.open(root, "n1") as directory:
        incoming = directory.begin_state(500, (1, 1), 0)
        incoming.add(pack_pair(b"a", b"1"))
        handle = FailingHandle(incoming._db._handle)
        incoming._db._handle = handle
        handle.failing = True
        with pytest.raises(StorageFailed, match="No space left"):
            incoming.add(pack_pair(b"b", b"1"))
        handle.failing = False
        with pytest.raises(StorageFailed, match="takes no writes"):
            incoming.finish()
        incoming.discard()
        assert not (root / "state.incoming").exists()
        assert not (root / "state.received").exists()
    with opened(root) as stores:
        assert_state(stores.state, STATE_INDEX)


def test_a_newer_one_discards_an_unfinished_and_leaves_a_finished_one(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path, "n1") as directory:
        first = directory.begin_state(5, (1, 1), 0)
        first.add(pack_pair(b"first", b""))
        second = directory.begin_state(6, (1, 1), 0)
        with pytest.raises(ValueError, match="discarded"):
            first.add(pack_pair(b"g", b""))
        second.add(pack_pair(b"second", b""))
        second.finish()
        third = directory.begin_state(7, (1, 1), 0)
        third.add(pack_pair(b"third", b""))
        stores = directory.open_member_stores(listed=True)  # such as after a failed write
        assert list(stores.state.iterate()) == [(b"second", b"")]
        third.finish()
        stores.log.close()
        stores.state.close()
        stores = directory.open_member_stores(listed=True)
        assert (stores.state.index, list(stores.state.iterate())) == (7, [(b"third", b"")])
        third.discard()  # too late: it changes nothing
        assert list(stores.state.iterate()) == [(b"third", b"")]
        stores.log.close()
        stores.state.close()


def test_an_unfinished_one_is_wiped_at_the_next_start(tmp_path: Path) -> None:
    root = build_member(tmp_path / "member", cut=False)
    with DataDirectory.open(root, "n1") as directory:
        directory.begin_state(500, (1, 1), 0).add(pack_pair(b"a", b"1"))
    assert (root / "state.incoming").exists()
    with opened(root) as stores:
        assert_state(stores.state, STATE_INDEX)
    assert not (root / "state.incoming").exists()


@pytest.mark.parametrize("name", ["state.received", "state.replaced"])
def test_a_waiting_state_without_an_identity_is_data(tmp_path: Path, name: str) -> None:
    filled(tmp_path / name, 5).close()
    with pytest.raises(NoIdentity, match=name):
        DataDirectory.open(tmp_path, "n1")


def test_a_repair_looks_at_the_state_that_was_received(tmp_path: Path) -> None:
    root = build_member(tmp_path / "member", cut=True)
    with DataDirectory.open(root, "n1") as directory:
        incoming = directory.begin_state(500, (1, 1), 0)
        incoming.add(pack_pair(b"a", b"1"))
        incoming.finish()
    damage.flip(root / "state" / "CURRENT", 2)  # what it replaces is of no importance
    before = damage.content(root)
    assert examine(root).state.index == 500
    assert examine(root).state.damage is None
    after = damage.content(root)
    assert after == before
    repair(root)
    state = StateStore.open(root / "state")
    assert (state.index, list(state.iterate())) == (500, [(b"a", b"1")])
    state.close()
