"""Packed pairs: what comes back is what went in, and nothing else is taken."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskq.pairs import pack_pair, unpack_pairs

PAIRS = st.dictionaries(st.binary(max_size=9), st.binary(max_size=20), min_size=1, max_size=12)


@given(PAIRS)
def test_pairs_come_back(pairs: dict[bytes, bytes]) -> None:
    ordered = sorted(pairs.items())
    chunk = b"".join(pack_pair(*pair) for pair in ordered)
    assert unpack_pairs(chunk, None) == ordered


@given(PAIRS, st.data())
def test_a_chunk_that_was_cut_is_refused_or_holds_whole_pairs(
    pairs: dict[bytes, bytes], data: st.DataObject
) -> None:
    ordered = sorted(pairs.items())
    sizes = [len(pack_pair(*pair)) for pair in ordered]
    chunk = b"".join(pack_pair(*pair) for pair in ordered)
    size = data.draw(st.integers(0, len(chunk) - 1))
    whole = [sum(sizes[: count + 1]) for count in range(len(sizes))]
    if size in whole:
        assert unpack_pairs(chunk[:size], None) == ordered[: whole.index(size) + 1]
    else:
        with pytest.raises(ValueError, match="a chunk"):
            unpack_pairs(chunk[:size], None)


@given(st.binary(max_size=60))
@example(b"\xff" * 8)
@example(bytes(8))
def test_any_bytes_are_pairs_or_refused(chunk: bytes) -> None:
    try:
        pairs = unpack_pairs(chunk, None)
    except ValueError:
        return
    assert b"".join(pack_pair(*pair) for pair in pairs) == chunk


@pytest.mark.parametrize(
    ("chunk", "after", "reason"),
    [
        (b"", None, "without pairs"),
        (pack_pair(b"b", b"1") + pack_pair(b"a", b"1"), None, "do not ascend at byte 18"),
        (pack_pair(b"a", b"1") + pack_pair(b"a", b"2"), None, "do not ascend"),
        (pack_pair(b"a", b"1"), b"a", "do not ascend at byte 8"),
        (pack_pair(b"a", b"1"), b"b", "do not ascend"),
        (struct.pack(">II", 2**32 - 1, 2**32 - 1), None, "within the pair at byte 8"),
    ],
)
def test_what_is_no_chunk_is_refused(chunk: bytes, after: bytes | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack_pairs(chunk, after)
