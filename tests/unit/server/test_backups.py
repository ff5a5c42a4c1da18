"""Backups at the server: whose they are, how many, and that none is left open."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from cluster.server import backups
from cluster.server.backups import COUNT_MAX, IDLE_SECS
from taskq.backup_results import BackupBegun, BackupChunk
from taskq.commands import BeginBackup, EndBackup, Ping, ReadBackup
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.pairs import unpack_pairs
from taskq.results import Done
from tests.unit.server.rig import Peer, Rig, submit


@pytest.fixture
def rig() -> Rig:
    return Rig()


def filled(rig: Rig, count: int = 3) -> Peer:
    peer = rig.peer()
    for number in range(count):
        peer.ask(submit(number, payload=b"x" * number))
    return peer


def read_all(peer: Peer, backup: int) -> list[bytes]:
    """The chunks of a backup, each checked."""
    chunks = []
    while True:
        data, more = b"", True
        while more:
            piece = peer.ask(ReadBackup(backup))
            assert isinstance(piece, BackupChunk)
            data, more = data + piece.data, piece.more
        assert zlib.crc32(data) == piece.crc
        if not data:
            return chunks
        chunks.append(data)


def test_the_state_arrives_as_it_was_at_the_beginning(rig: Rig) -> None:
    peer = filled(rig)
    view: Any = rig.replica.machine._state.view
    expected = dict(view.values)
    begun = peer.ask(BeginBackup())
    assert isinstance(begun, BackupBegun)
    assert (begun.at_index, begun.cluster_id) == (rig.replica.applied_index, rig.replica.cluster_id)
    peer.ask(submit(99))
    pairs: dict[bytes, bytes] = {}
    for chunk in read_all(peer, begun.backup):
        pairs |= unpack_pairs(chunk, max(pairs, default=None))
    assert pairs == expected
    assert peer.ask(EndBackup(begun.backup)) == Done()
    assert rig.replica.exports.open == []


def test_a_chunk_larger_than_a_frame_comes_in_pieces(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "PIECE_SIZE", 10)
    peer = filled(rig)
    view: Any = rig.replica.machine._state.view
    begun = peer.ask(BeginBackup())
    pairs = [pair for chunk in read_all(peer, begun.backup) for pair in unpack_pairs(chunk, None)]
    assert dict(pairs) == view.values


def test_it_belongs_to_its_connection(rig: Rig) -> None:
    peer, other = filled(rig), rig.peer()
    backup = peer.ask(BeginBackup()).backup
    for request in (ReadBackup(backup), EndBackup(backup), ReadBackup(77)):
        assert other.ask(request).code == ErrorCode.NOT_FOUND.value
    assert peer.ask(ReadBackup(backup)).data
    peer.hang_up()
    assert rig.replica.exports.open == []
    assert len(rig.server.dispatcher.backups) == 0


def test_only_so_many_at_once(rig: Rig) -> None:
    peers = [filled(rig) for _ in range(COUNT_MAX + 1)]
    for peer in peers[:-1]:
        assert isinstance(peer.ask(BeginBackup()), BackupBegun)
    assert peers[-1].ask(BeginBackup()).code == ErrorCode.TOO_MANY_REQUESTS.value
    peers[0].hang_up()
    assert isinstance(peers[-1].ask(BeginBackup()), BackupBegun)


def test_what_nobody_reads_is_closed(rig: Rig) -> None:
    peer = filled(rig)
    backup = peer.ask(BeginBackup()).backup
    for _ in range(3):  # a slow reader is none that has gone
        rig.loop.advance(IDLE_SECS - 1)
        assert peer.ask(ReadBackup(backup)).data
    for _ in range(4):
        rig.loop.advance(IDLE_SECS / 3)
        peer.ask(Ping())
    assert rig.replica.exports.open == []
    assert peer.ask(ReadBackup(backup)).code == ErrorCode.NOT_FOUND.value


def test_one_piece_at_a_time(rig: Rig) -> None:
    peer = filled(rig)
    backup = peer.ask(BeginBackup()).backup
    rig.replica.exports.held = []
    first, second = peer.send(ReadBackup(backup), ReadBackup(backup))
    assert peer.answer(second).code == ErrorCode.WRONG_STATE.value
    rig.replica.exports.release()
    assert peer.answer(first).data


def test_who_hangs_up_while_it_is_opened_or_read_leaves_nothing(rig: Rig) -> None:
    opening, reading = filled(rig), rig.peer()
    backup = reading.ask(BeginBackup()).backup
    rig.replica.exports.held = []
    opening.send(BeginBackup())
    reading.send(ReadBackup(backup))
    assert len(rig.server.dispatcher.backups) == 2
    opening.hang_up()
    reading.hang_up()
    rig.replica.exports.release()
    rig.loop.settle()
    assert rig.replica.exports.open == []
    assert len(rig.server.dispatcher.backups) == 0


def test_a_state_that_cannot_be_read_any_more_ends_it(rig: Rig) -> None:
    peer = filled(rig)
    backup = peer.ask(BeginBackup()).backup
    rig.replica.exports.broken = refuse(ErrorCode.UNAVAILABLE, "the disk failed")
    answer = peer.ask(ReadBackup(backup))
    assert isinstance(answer, Refusal)
    assert answer.message == "the disk failed"
    assert rig.replica.exports.open == []
    assert peer.ask(BeginBackup()).message == "the disk failed"


def test_a_stop_closes_all(rig: Rig) -> None:
    filled(rig).ask(BeginBackup())
    rig.server.dispatcher.backups.stop()
    assert rig.replica.exports.open == []
