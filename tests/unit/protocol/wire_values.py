"""Legal, extreme and just illegal values of every kind of field, as they come off the wire."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from taskq import fields
from taskq.fields import Kind, kinds_of

# Above this, a text or a list just over its limit is too much for a unit test to make.
SIZE_TRIED_MAX = 200_000
U64_MAX = (1 << 64) - 1
I64_MIN = -(1 << 63)


def sample(kind: Kind) -> Any:
    """A legal value, with a value wherever one may be left out."""
    match kind:
        case fields.Int():
            return kind.low
        case fields.Bool():
            return True
        case fields.Text():
            return "a" * max(kind.size_min, 1)
        case fields.Bytes():
            return b"\x07" * kind.size_min
        case fields.Maybe():
            return sample(kind.inner)
        case fields.ListOf():
            return [sample(kind.inner) for _ in range(max(kind.count_min, 1))]
        case fields.MapOf():
            return {sample(kind.key): sample(kind.value)}
        case fields.Answer():
            return [False, ["NOT_FOUND", "no such task"]]
        case fields.Record():
            return [sample(inner) for inner in kinds_of(kind.shape).values()]
    raise AssertionError(f"no sample of {kind}")


def extremes(kind: Kind) -> list[Any]:
    """Legal values at the limits."""
    match kind:
        case fields.Int():
            return [kind.low, kind.high]
        case fields.Bool():
            return [True, False]
        case fields.Text() if kind.pattern is not None:
            return ["a", "a" * 200, "Az09._:-"]
        case fields.Text():
            return ["é" * size for size in _sizes(kind.size_min, kind.size_max)]
        case fields.Bytes():
            return [bytes(size) for size in _sizes(kind.size_min, kind.size_max)]
        case fields.Maybe():
            return [None, *extremes(kind.inner)]
        case fields.ListOf():
            one = sample(kind.inner)
            return [[one] * size for size in _sizes(kind.count_min, kind.count_max)]
        case fields.MapOf():
            value = sample(kind.value)
            return [{}, {f"k{n}": value for n in range(kind.count_max)}]
        case fields.Answer():
            return [[True, []], [False, ["NOT_FOUND", ""]]]
        case fields.Record():
            required = len(kind.shape._fields) - len(kind.shape._field_defaults)  # type: ignore[attr-defined]
            return [sample(kind), sample(kind)[:required]]
    raise AssertionError(f"no extremes of {kind}")


def illegal(kind: Kind) -> list[Any]:
    """Values that a msgpack stream can hold and that are just not legal."""
    strange: list[Any] = [1.5, float("nan"), [[]], {"a": []}]
    match kind:
        case fields.Int():
            over = [kind.high + 1] if kind.high < U64_MAX else []
            return [*strange, None, True, False, "1", b"1", kind.low - 1, *over, U64_MAX, I64_MIN]
        case fields.Bool():
            return [*strange, None, 0, 1, "true"]
        case fields.Text() if kind.pattern is not None:
            return [*strange, None, 1, b"a", "", "a" * 201, "a b", "a\n", "é", "a\0", "a/b"]
        case fields.Text():
            short = ["a" * (kind.size_min - 1)] if kind.size_min else []
            return [*strange, None, 1, b"a", *short, *("é" * n for n in _above(kind.size_max))]
        case fields.Bytes():
            short = [bytes(kind.size_min - 1)] if kind.size_min else []
            return [*strange, None, 1, "a", *short, *(bytes(n) for n in _above(kind.size_max))]
        case fields.Maybe():
            return [value for value in illegal(kind.inner) if value is not None]
        case fields.ListOf():
            one = sample(kind.inner)
            few = [[one] * (kind.count_min - 1)] if kind.count_min else []
            many = [[one] * size for size in _above(kind.count_max)]
            spoilt = [[one] * kind.count_min + [wrong] for wrong in illegal(kind.inner)[:6]]
            return [1.5, None, "a", b"a", {}, {"0": one}, *few, *many, *spoilt]
        case fields.MapOf():
            key, value = sample(kind.key), sample(kind.value)
            many = {f"k{n}": value for n in range(kind.count_max + 1)}
            keys = [
                {wrong: value} for wrong in illegal(kind.key) if isinstance(wrong, (str, bytes))
            ]
            return [None, [], [[key, value]], many, *keys, *({key: v} for v in illegal(kind.value))]
        case fields.Answer():
            return [None, [], [True], [1, []], [True, {}], [True, [], []], "ab"]
        case fields.Record():
            whole = sample(kind)
            required = len(kind.shape._fields) - len(kind.shape._field_defaults)  # type: ignore[attr-defined]
            short = [whole[: required - 1]] if required else []
            return [None, {}, "a", [*whole, None], *short, [float("nan"), *whole[1:]]]
    raise AssertionError(f"no illegal values of {kind}")


def legal(kind: Kind) -> st.SearchStrategy[Any]:
    """Any legal value; sizes stay small."""
    match kind:
        case fields.Int():
            return st.integers(kind.low, kind.high)
        case fields.Bool():
            return st.booleans()
        case fields.Text() if kind.pattern is not None:
            return st.from_regex(kind.pattern, fullmatch=True)
        case fields.Text():
            text = st.characters(exclude_categories=["Cs"])
            return st.text(text, min_size=kind.size_min, max_size=min(kind.size_max, 30))
        case fields.Bytes():
            return st.binary(min_size=kind.size_min, max_size=min(kind.size_max, 40))
        case fields.Maybe():
            return st.none() | legal(kind.inner)
        case fields.ListOf():
            most = min(kind.count_max, max(kind.count_min, 4))
            return st.lists(legal(kind.inner), min_size=kind.count_min, max_size=most)
        case fields.MapOf():
            return st.dictionaries(
                legal(kind.key), legal(kind.value), max_size=min(kind.count_max, 4)
            )
        case fields.Answer():
            refusal = st.tuples(st.just("NOT_FOUND"), st.text(max_size=9)).map(list)
            return st.tuples(st.just(False), refusal).map(list)
        case fields.Record():
            return legal_fields(kind.shape)
    raise AssertionError(f"no strategy for {kind}")


def legal_fields(shape: type) -> st.SearchStrategy[list[Any]]:
    """Legal fields of a shape, with any number of trailing defaults left out."""
    whole = st.tuples(*(legal(kind) for kind in kinds_of(shape).values()))
    least, most = fields.counts_of(shape)
    return st.tuples(whole, st.integers(least, most)).map(lambda pair: list(pair[0][: pair[1]]))


def _sizes(low: int, high: int) -> list[int]:
    return [low, high] if high <= SIZE_TRIED_MAX else [low]


def _above(size_max: int) -> list[int]:
    return [size_max + 1] if size_max <= SIZE_TRIED_MAX else []
