"""What nodes write to each other while a cluster is founded, and what is not taken for it."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.founding_letters import (
    LETTER_SIZE_MAX,
    Answer,
    Ask,
    Differ,
    Formed,
    Letter,
    Prepare,
    decode,
    encode,
)

MEMBERS = ("a", "b", "c")
LETTERS = [
    Ask(MEMBERS),
    Prepare("c1", MEMBERS),
    Answer("c1", "disk"),
    Formed("c1", {"a": "d1", "b": "d2"}),
    Differ(("a",)),
]


@pytest.mark.parametrize("letter", LETTERS)
def test_there_and_back(letter: Letter) -> None:
    assert decode(encode(letter)) == letter


def test_the_largest_letter_fits() -> None:
    disks = {f"{number:064}": "d" * 64 for number in range(100)}
    assert decode(encode(Formed("c" * 64, disks))) == Formed("c" * 64, disks)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        [1],
        [1, 9, "x"],
        [True, 1, ["a"]],
        [1.0, 1, ["a"]],
        [2, 1, ["a"]],
        [1, 1, []],
        [1, 1, ["b", "a"]],
        [1, 1, ["a", "a"]],
        [1, 1, [b"a"]],
        [1, 1, ["a"], "more"],
        [1, 1, ["n" * 65]],
        [1, 1, [f"{number:03}" for number in range(101)]],
        [1, 2, "", ["a"]],
        [1, 2, "a\nb", ["a"]],
        [1, 3, "c", 5],
        [1, 4, "c", {}],
        [1, 4, "c", {"a": ""}],
        [1, 4, "c", [["a", "d"]]],
        [1, 4, "c", {str(number): "d" for number in range(101)}],
    ],
)
def test_anything_else_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match=r"letter|id|members"):
        decode(msgpack.packb(body))


def test_too_much_is_refused_unread() -> None:
    with pytest.raises(ValueError, match="bytes"):
        decode(b"\x91" * (LETTER_SIZE_MAX + 1))


@given(st.binary(max_size=200))
def test_random_bytes_never_do_more_than_raise_value_error(message: bytes) -> None:
    try:
        decode(message)
    except ValueError:
        return


@given(st.sampled_from(LETTERS), st.data())
def test_a_changed_letter_never_does_more_than_raise_value_error(
    letter: Letter, data: st.DataObject
) -> None:
    message = bytearray(encode(letter))
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(message))
    except ValueError:
        return
