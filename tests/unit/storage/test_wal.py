"""The reader of LevelDB's record format: whole records, the first bad byte, what survives it."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.wal import (
    BLOCK_SIZE,
    Reader,
    frame_records,
    masked_crc,
    readable_records,
    scan_data,
    unmask,
)

PATH = Path("000007.log")
SOURCE = random.Random(1).randbytes(70_000)


def batch(sequence: int, count: int, size: int = 40) -> bytes:
    return struct.pack("<QI", sequence, count) + random.Random(sequence).randbytes(size)


def read(data: bytes) -> list[bytes]:
    return [record.data for record in Reader(data).records()]


def test_a_known_file_reads_as_leveldb_wrote_it() -> None:
    # Written by LevelDB: put "key" = "value", then delete "key".
    put = "01000000000000000100000001036b65790576616c7565"
    delete = "02000000000000000100000000036b6579"
    data = bytes.fromhex("a8efd2d4170001" + put + "8b8932a0110001" + delete)
    assert read(data) == [bytes.fromhex(put), bytes.fromhex(delete)]
    assert frame_records(read(data)) == data
    found = scan_data(PATH, data)
    assert (found.count, found.first_sequence, found.next_sequence, found.bad) == (2, 1, 3, None)


def test_masking_is_undone() -> None:
    crc = unmask(masked_crc(b"123456789"))
    assert crc == 0xE3069283  # the check value of CRC-32C


@given(st.lists(st.integers(0, 70_000), max_size=4))
@settings(max_examples=40, deadline=None)
def test_records_of_any_size_come_back(sizes: list[int]) -> None:
    records = [SOURCE[:size] for size in sizes]
    assert read(frame_records(records)) == records


@pytest.mark.parametrize("short", range(9))
def test_a_record_that_ends_near_a_block_is_followed_by_padding(short: int) -> None:
    records = [bytes(BLOCK_SIZE - 7 - short), b"next", b"last"]
    data = frame_records(records)
    assert read(data) == records
    assert scan_data(PATH, data).bad is not None  # no batches: too short for their head


@given(
    st.lists(st.integers(0, 40_000), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
    st.integers(0, 7),
)
@settings(deadline=None)
def test_a_flipped_bit_never_yields_other_bytes(
    sizes: list[int], dice: random.Random, bit: int
) -> None:
    records = [batch(i + 1, 1, size) for i, size in enumerate(sizes)]
    data = bytearray(frame_records(records))
    data[dice.randrange(len(data))] ^= 1 << bit
    damaged = bytes(data)
    found = read(damaged)
    assert found == records[: len(found)]
    result = scan_data(PATH, damaged)
    assert result.count == len(found)
    # Padding carries nothing; everywhere else the flip is seen.
    assert (result.bad is not None) == (found != records)
    kept = readable_records(damaged)
    assert [record for record in records if record in kept] == kept


def test_later_batches_prove_damage_and_a_torn_end_proves_nothing() -> None:
    records = [batch(i, 1) for i in range(1, 21)]
    data = frame_records(records)
    assert scan_data(PATH, data) == scan_data(PATH, data, 1)
    whole = scan_data(PATH, data)
    assert (whole.bad, whole.count, whole.first_sequence, whole.next_sequence) == (None, 20, 1, 21)

    size = len(data) // 20
    middle = bytearray(data)
    middle[10 * size + 30] ^= 1
    result = scan_data(PATH, bytes(middle))
    assert (result.bad, result.end, result.later_survives) == (10 * size, 10 * size, True)

    last = bytearray(data)
    last[19 * size + 30] ^= 1
    result = scan_data(PATH, bytes(last))
    assert (result.bad, result.later_survives) == (19 * size, False)

    for rest in (bytes(5000), data[:300], b"\x01" * 100):  # the second: older batches again
        result = scan_data(PATH, data + rest)
        assert (result.count, result.bad, result.later_survives) == (20, len(data), False)


def test_fragments_of_the_torn_batch_are_no_later_batch() -> None:
    records = [batch(1, 1), batch(2, 1, 200_000)]
    data = bytearray(frame_records(records))
    start = len(frame_records(records[:1]))
    data[start : start + 100] = bytes(100)
    result = scan_data(PATH, bytes(data))
    assert (result.bad, result.end, result.later_survives) == (start, start, False)
    after = frame_records([*records, batch(3, 1)])
    data = bytearray(after)
    data[start : start + 100] = bytes(100)
    assert scan_data(PATH, bytes(data)).later_survives


def test_a_missing_batch_between_readable_ones_is_bad() -> None:
    data = frame_records([batch(1, 2), batch(4, 1)])
    result = scan_data(PATH, data)
    assert (result.count, result.later_survives) == (1, True)
    assert result.bad == len(frame_records([batch(1, 2)]))
    assert scan_data(PATH, frame_records([batch(4, 1)]), expected_sequence=3).bad == 0


def test_reading_on_after_damage_starts_at_a_block_not_inside_a_payload() -> None:
    forged = frame_records([batch(99, 1)])
    records = [batch(1, 1), batch(2, 1) + forged, batch(3, 1, 50_000), batch(4, 1)]
    data = bytearray(frame_records(records))
    data[len(frame_records(records[:1])) + 10] ^= 1
    assert readable_records(bytes(data)) == [records[0], records[3]]
