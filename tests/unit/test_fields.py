"""Kinds: what is legal passes, what is just outside is refused by name; explaining stays cheap."""

from typing import Annotated, Any, NamedTuple

import pytest

from taskq import fields
from taskq.explain import explain, shown
from taskq.fields import (
    Answer,
    Bool,
    Bytes,
    Int,
    Kind,
    ListOf,
    MapOf,
    Maybe,
    Record,
    Text,
    compile_check,
    compile_kind,
    compile_make,
)
from tests.unit.protocol.wire_values import extremes, illegal, sample


class Pair(NamedTuple):
    """Two fields, the second with a default that the wire's check itself would refuse."""

    number: Annotated[int, Int(1, 9)]
    words: Annotated[tuple[str, ...], ListOf(Text(3), 2)] = ("none",)


KINDS: list[Kind] = [
    Int(0, 255),
    Int(-5, 5),
    Int(0, (1 << 63) - 1),
    Bool(),
    Text(5),
    Text(5, 2),
    Text(200, 1, r"[A-Za-z0-9._:-]{1,200}"),
    Bytes(16, 16),
    Bytes(7, 0),
    Maybe(Int(1, 2)),
    Maybe(Text(3, 1)),
    ListOf(Int(0, 1), 3, 1),
    ListOf(Record(Pair), 2),
    ListOf(Maybe(Bytes(2, 2)), 2),
    MapOf(Text(3, 1), Text(3), 2),
    Answer(),
    Record(Pair),
]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_what_is_legal_passes_and_what_is_just_outside_does_not(kind: Kind) -> None:
    check = compile_kind(kind)
    for value in [sample(kind), *extremes(kind)]:
        assert check(value) is True, value
    for value in illegal(kind):
        assert not check(value), value


def test_a_left_out_field_takes_its_default_even_one_that_the_wire_does_not_carry() -> None:
    assert compile_check(Pair)([1])
    assert compile_make(Pair)(1) == Pair(1)
    assert compile_make(Pair)(1).words is Pair(1).words
    # The same default sent by a stranger is a list and has to pass by itself.
    assert not compile_check(Pair)([1, ["none"]])


def test_making_checks_every_field_and_builds_the_class() -> None:
    made = compile_make(Pair)(9, ["a"])
    assert type(made) is Pair
    assert made == Pair(9, ["a"])  # type: ignore[arg-type]
    assert compile_make(Pair)(10, ["a"]) is None
    assert compile_make(Pair)(9, ["aaaa"]) is None


def test_an_empty_shape_is_made_though_it_is_false() -> None:
    class Empty(NamedTuple):
        pass

    made = compile_make(Empty)()
    assert made is not None
    assert type(made) is Empty


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (None, "Pair: expected an array, got None"),
        ([], "Pair: expected 1..2 fields, got 0"),
        ([1, [], 3], "Pair: expected 1..2 fields, got 3"),
        ([0], "number: got 0, allowed: int 1..9"),
        ([True], "number: got True, allowed: int 1..9"),
        ([1, ["a", 5]], "words[1]: got 5, allowed: str of 0..3 characters"),
        ([1, ["a"] * 3], "words: got list of 3, allowed: array of 0..2: str of 0..3 characters"),
    ],
)
def test_the_first_wrong_field_is_named_with_what_is_allowed(values: Any, words: str) -> None:
    assert explain(Pair, values) == words


def test_a_wrong_record_in_a_list_and_a_wrong_pair_in_a_map_are_named() -> None:
    class Holder(NamedTuple):
        pairs: Annotated[list[Any], ListOf(Record(Pair), 5)]
        headers: Annotated[dict[str, str], MapOf(Text(3, 1), Text(3), 2)]

    assert explain(Holder, [[[1], [0]], {}]).startswith("pairs[1].number: got 0")
    assert explain(Holder, [[], {"abcd": ""}]).startswith("headers: a key: got 'abcd'")
    assert explain(Holder, [[], {"abc": 5}]).startswith("headers['abc']: got 5")


def test_what_is_shown_is_short_whatever_was_sent() -> None:
    for value in ("x" * 1_000_000, b"x" * 1_000_000, [[]] * 1000, 1 << 63, "\x00" * 100, -1.5):
        assert len(shown(value)) <= 60


def test_explaining_compiles_nothing_for_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal must not cost more than the frame: no compilation per member of a list."""
    compiled: list[str] = []
    real = eval

    def counting(source: str, names: dict[str, Any]) -> Any:
        compiled.append(source)
        return real(source, names)

    class Many(NamedTuple):
        numbers: Annotated[list[int], ListOf(Int(0, 77), 1000)]

    monkeypatch.setattr(fields, "eval", counting, raising=False)
    wrong = [[1] * 999 + [-1]]
    assert not compile_check(Many)(wrong)
    assert explain(Many, wrong).startswith("numbers[999]: got -1")
    assert 0 < len(compiled) < 10
    del compiled[:]
    assert explain(Many, wrong).startswith("numbers[999]: got -1")
    assert compiled == []
