"""From arrays as received to instances of reply shapes. Pure; called by the codec of the client.

Replies are checked like requests: what reaches a caller has the types that `results.py` promises.
But a node of a later version may say more, in fields behind those that are known here: so that old
clients and new nodes work together while a cluster is upgraded, these are left aside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from taskq.explain import explain
from taskq.fields import ListOf, Record, compile_check, compile_make, counts_of, kinds_of


def revive(shape: type, body: Any) -> Any:
    """An instance of `shape` from its array; nested records become instances, too.

    Raises ValueError naming the first wrong field. Changes `body` where it holds records.
    """
    value = _reviver(shape)(body)
    if value is None:
        value = _reviver(shape)(trimmed(shape, body))
    if value is None:
        raise ValueError(explain(shape, body))
    return value


def trimmed(shape: type, body: Any) -> Any:
    """A copy of the array without what a later version added to `shape` or its records."""
    if type(body) is not list:
        return body
    kept = body[: len(kinds_of(shape))]
    for position, inner in _records(shape):
        if position < len(kept) and type(kept[position]) is list:
            kept[position] = [trimmed(inner, record) for record in kept[position]]
    return kept


@cache
def _reviver(shape: type) -> Callable[[Any], Any]:
    """A function of an array as received: an instance, or None where it is not legal."""
    if _nested(shape):
        check, build = compile_check(shape), _builder(shape)
        return lambda body: build(body) if check(body) else None
    make = compile_make(shape)
    least, most = counts_of(shape)

    def revive_flat(body: Any) -> Any:
        return make(*body) if type(body) is list and least <= len(body) <= most else None

    return revive_flat


@cache
def _builder(shape: type) -> Callable[[list[Any]], Any]:
    """A function of a checked array that makes the instance."""
    nested = _nested(shape)

    def build(body: list[Any]) -> Any:
        for position, build_record in nested:
            if position < len(body):
                body[position] = [build_record(record) for record in body[position]]
        return shape(*body)

    return build if nested else lambda body: shape(*body)


def _nested(shape: type) -> list[tuple[int, Callable[[list[Any]], Any]]]:
    """Positions of the fields that are lists of records, with the builders of these."""
    return [(position, _builder(inner)) for position, inner in _records(shape)]


@cache
def _records(shape: type) -> list[tuple[int, type]]:
    """Positions of the fields that are lists of records, with the shapes of these."""
    return [
        (position, kind.inner.shape)
        for position, kind in enumerate(kinds_of(shape).values())
        if isinstance(kind, ListOf) and isinstance(kind.inner, Record)
    ]
