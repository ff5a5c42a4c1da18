"""What codecs carry comes back the same; what they cannot carry is named with its place."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.worker.codec import DEPTH_MAX, JSON, MSGPACK, Codec, codec_of

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | texts | st.floats(allow_nan=False, allow_infinity=False)


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> Any:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )


@given(nested(scalars | st.integers(), texts))
def test_json_gives_back_what_it_was_given(value: Any) -> None:
    assert JSON.flaw(value, "x") == ""
    assert JSON.decode(JSON.encode(value)) == value


@given(
    nested(
        scalars | st.binary() | st.integers(-(1 << 63), (1 << 64) - 1),
        texts | st.integers(-(1 << 63), (1 << 63) - 1) | st.binary(),
    )
)
def test_msgpack_gives_back_what_it_was_given(value: Any) -> None:
    assert MSGPACK.flaw(value, "x") == ""
    assert MSGPACK.decode(MSGPACK.encode(value)) == value


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_tuples_come_back_as_lists(codec: Codec) -> None:
    value = (1, (2, {"a": (3,)}))
    assert codec.flaw(value, "x") == ""
    assert codec.decode(codec.encode(value)) == [1, [2, {"a": [3]}]]


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_kinds_of_int_and_text_are_carried_as_what_they_are(codec: Codec) -> None:
    assert codec.flaw(Colour.RED, "x") == ""
    assert codec.decode(codec.encode([Colour.RED])) == [1]


LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: Any = 0
for _ in range(DEPTH_MAX + 1):
    DEEP = [DEEP]

BOTH = [
    ({1}, "x is a set"),
    ([0, {"when": datetime(2030, 1, 1, tzinfo=UTC)}], "x[1]['when'] is a datetime"),
    ({"a": {"b": (1, Decimal(1))}}, "x['a']['b'][1] is a Decimal"),
    ({None: 1}, "x has the key None (NoneType)"),
    ({True: 1}, "x has the key True (bool)"),
    ({(1, 2): 3}, "x has the key (1, 2) (tuple)"),
    ("\ud800", "x holds half a character"),
    ({"\ud800": 1}, "x has the key '\\ud800', which holds half a character"),
    ([1 << 20_000], "x[0] is an int"),
    (LOOP, "nested more than 100 deep (or holds itself)"),
    (DEEP, "nested more than 100 deep"),
    (bytearray(b"x"), "x is a bytearray"),
]


@pytest.mark.parametrize(("value", "text"), BOTH)
@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_what_cannot_be_carried_is_named(codec: Codec, value: Any, text: str) -> None:
    assert text in codec.flaw(value, "x")


@pytest.mark.parametrize(
    ("codec", "value", "text"),
    [
        (JSON, {1: 2}, "x has the key 1 (int), which json cannot carry"),
        (JSON, [b"a"], 'x[0] is bytes, which need codec="msgpack"'),
        (JSON, float("nan"), "x is nan"),
        (JSON, {"a": float("inf")}, "x['a'] is inf"),
        (MSGPACK, [1 << 64], "x[0] is an int beyond 64 bits"),
        (MSGPACK, -(1 << 63) - 1, "x is an int beyond 64 bits"),
    ],
)
def test_what_one_of_them_cannot_carry(codec: Codec, value: Any, text: str) -> None:
    assert codec.flaw(value, "x").startswith(text)


@given(st.binary())
def test_bytes_from_outside_are_a_value_or_a_value_error(data: bytes) -> None:
    for codec in (JSON, MSGPACK):
        try:
            codec.decode(data)
        except (ValueError, RecursionError):
            continue


def test_content_types() -> None:
    assert codec_of(None) is JSON
    assert codec_of("application/json") is JSON
    assert codec_of("Application/MSGPACK; x=y") is MSGPACK
    assert codec_of("text/plain") is None
