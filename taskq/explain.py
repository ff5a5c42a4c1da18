"""Says in words which field of a message is wrong and what is allowed.

Slow and thorough: called only after a compiled check of `fields.py` has said no.
"""

from __future__ import annotations

from typing import Any

from taskq.fields import Kind, ListOf, MapOf, Maybe, Record, compile_kind, counts_of, kinds_of

SHOWN_SIZE_MAX = 60


def explain(shape: type, values: Any, path: str = "") -> str:
    """The first wrong field of `values`, which should be the fields of `shape`; "" for none.

    `path` is where `values` stands in the message.
    """
    if type(values) is not list:
        return f"{path or shape.__name__}: expected an array, got {shown(values)}"
    least, most = counts_of(shape)
    if not least <= len(values) <= most:
        return f"{path or shape.__name__}: expected {least}..{most} fields, got {len(values)}"
    for (name, kind), value in zip(kinds_of(shape).items(), values, strict=False):
        wrong = _explain_kind(kind, value, f"{path}.{name}" if path else name)
        if wrong:
            return wrong
    return ""


def _explain_kind(kind: Kind, value: Any, where: str) -> str:
    if compile_kind(kind)(value):
        return ""
    if isinstance(kind, Maybe) and isinstance(kind.inner, (Record, ListOf)):
        kind = kind.inner
    if isinstance(kind, Record):
        return explain(kind.shape, value, where)
    wrong = ""
    if isinstance(kind, ListOf) and type(value) is list and len(value) <= kind.count_max:
        wrong = _explain_members(kind.inner, value, where)
    elif isinstance(kind, MapOf) and type(value) is dict and len(value) <= kind.count_max:
        wrong = _explain_pairs(kind, value, where)
    return wrong or f"{where}: got {shown(value)}, allowed: {kind.allowed()}"


def _explain_members(inner: Kind, values: list[Any], where: str) -> str:
    legal = compile_kind(inner)
    for position, value in enumerate(values):
        if not legal(value):
            return _explain_kind(inner, value, f"{where}[{position}]")
    return ""


def _explain_pairs(kind: MapOf, pairs: dict[Any, Any], where: str) -> str:
    for key, value in pairs.items():
        wrong = _explain_kind(kind.key, key, f"{where}: a key")
        wrong = wrong or _explain_kind(kind.value, value, f"{where}[{shown(key)}]")
        if wrong:
            return wrong
    return ""


def shown(value: Any) -> str:
    """A value for a message to people: short, whatever was sent, and at a small cost."""
    if isinstance(value, (bytes, list, dict)):
        return f"{type(value).__name__} of {len(value)}"
    # Cut before repr(): this may be the text of a whole frame.
    text = repr(value[:SHOWN_SIZE_MAX] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN_SIZE_MAX else f"{text[: SHOWN_SIZE_MAX - 3]}..."
