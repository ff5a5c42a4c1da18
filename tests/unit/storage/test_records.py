"""Small records of the disk: batch numbers, witness slots, identity, key ranges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.storage.batches import (
    DROPS_PER_BATCH,
    MARK_SIZE,
    MARKS_KEPT,
    Batches,
    batch_key,
    batch_number,
)
from cluster.storage.errors import DataDamaged, NewerFormat
from cluster.storage.identity import decode_identity, encode_identity, new_identity
from cluster.storage.state_records import after_prefix
from cluster.storage.witness import SLOT_SIZE, Attestation, decode_slot, encode_slot

PATH = Path("file")


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_batch_keys_sort_by_number(one: int, other: int) -> None:
    assert (batch_key(one) < batch_key(other)) == (one < other)
    assert batch_number(batch_key(one)) == one


def test_batch_records_go_only_when_several_memtables_follow_them() -> None:
    batches = Batches(10, 1)
    size = MARK_SIZE // 100
    kept = set(range(1, 11))
    dropped: list[tuple[int, int]] = []
    for _ in range(3000):
        drops = batches.next_drops()
        assert len(drops) <= DROPS_PER_BATCH
        for key in drops:
            kept.remove(batch_number(key))
            dropped.append((batch_number(key), batches.number))
        batches.written(len(drops), size)
        kept.add(batches.number)
        assert kept == set(range(batches.floor, batches.number + 1))
    assert len(dropped) > 1000
    assert all((at - number) * size >= (MARKS_KEPT - 1) * MARK_SIZE for number, at in dropped)


def test_small_batches_drop_nothing() -> None:
    batches = Batches(0, 1)
    for _ in range(100):
        assert batches.next_drops() == []
        batches.written(0, 100)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_witness_slot_comes_back(log_id: int, number: int) -> None:
    assert decode_slot(PATH, encode_slot(log_id, number)) == Attestation(log_id, number)


@given(st.integers(0, 2**64 - 1), st.integers(0, SLOT_SIZE * 8 - 1))
def test_a_flipped_bit_makes_a_slot_unreadable(number: int, bit: int) -> None:
    slot = bytearray(encode_slot(5, number))
    slot[bit // 8] ^= 1 << bit % 8
    assert decode_slot(PATH, bytes(slot)) is None


def test_a_short_or_empty_slot_is_unreadable() -> None:
    slot = encode_slot(5, 6)
    assert all(decode_slot(PATH, slot[:size]) is None for size in range(SLOT_SIZE))
    assert decode_slot(PATH, bytes(SLOT_SIZE)) is None


def test_an_identity_comes_back() -> None:
    identity = new_identity("n1").with_log()
    assert decode_identity(PATH, encode_identity(identity)) == identity


@given(st.data())
def test_a_changed_identity_is_refused(data: st.DataObject) -> None:
    identity = new_identity("n1")
    content = encode_identity(identity)
    at = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[at] = data.draw(st.integers(0, 255))
    try:
        assert decode_identity(PATH, bytes(changed)) == identity  # white space may differ
    except (DataDamaged, NewerFormat):
        assert bytes(changed) != content


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b'"x"', b"\xff", b'{"format":1}'])
def test_what_is_no_identity_is_refused(content: bytes) -> None:
    with pytest.raises(DataDamaged):
        decode_identity(PATH, content)


def test_a_newer_identity_is_refused_as_newer() -> None:
    with pytest.raises(NewerFormat, match="storage format 2"):
        decode_identity(PATH, json.dumps({"format": 2}).encode())


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_a_key_range_holds_exactly_its_prefix(prefix: bytes, key: bytes) -> None:
    stop = after_prefix(prefix)
    inside = prefix <= key and (stop is None or key < stop)
    assert inside == key.startswith(prefix)
