"""Kinds of field values: what a field of a message may hold, checked in one compiled expression.

A kind knows three things: a Python expression that is true for a legal value, words that say what
is allowed, and how the value looks on the wire. Messages are `NamedTuple`s whose annotations are
`Annotated[type, kind]`; `compile_check` joins the expressions of all fields into one function, as
`dataclasses` does for `__init__`, because it runs for every task of every frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

Names = dict[str, Any]


class Kind:
    """What values a field takes."""

    def expression(self, value: str, names: Names) -> str:
        """Python source that is true where the expression `value` is legal; may add `names`."""
        raise NotImplementedError

    def allowed(self) -> str:
        """What is allowed, in words, for messages and for the protocol page."""
        raise NotImplementedError


def _bind(names: Names, thing: Any) -> str:
    name = f"_{len(names)}"
    names[name] = thing
    return name


@dataclass(frozen=True)
class Int(Kind):
    """An integer from `low` to `high`, both included; never a boolean."""

    low: int
    high: int

    def expression(self, value: str, names: Names) -> str:
        return f"type({value}) is int and {self.low} <= {value} <= {self.high}"

    def allowed(self) -> str:
        return f"int {self.low}..{self.high}"


@dataclass(frozen=True)
class Bool(Kind):
    """true or false."""

    def expression(self, value: str, names: Names) -> str:
        return f"type({value}) is bool"

    def allowed(self) -> str:
        return "bool"


@dataclass(frozen=True)
class Text(Kind):
    """Text of `size_min` to `size_max` characters, matching `pattern` as a whole if there is one."""

    size_max: int
    size_min: int = 0
    pattern: str | None = None

    def expression(self, value: str, names: Names) -> str:
        if self.pattern is not None:
            match = _bind(names, re.compile(self.pattern).fullmatch)
            return f"type({value}) is str and {match}({value}) is not None"
        return f"type({value}) is str and {self.size_min} <= len({value}) <= {self.size_max}"

    def allowed(self) -> str:
        if self.pattern is not None:
            return f"str matching `{self.pattern}`"
        return f"str of {self.size_min}..{self.size_max} characters"


@dataclass(frozen=True)
class Bytes(Kind):
    """Bytes of `size_min` to `size_max`."""

    size_max: int
    size_min: int = 0

    def expression(self, value: str, names: Names) -> str:
        return f"type({value}) is bytes and {self.size_min} <= len({value}) <= {self.size_max}"

    def allowed(self) -> str:
        if self.size_min == self.size_max:
            return f"bin of {self.size_max} bytes"
        return f"bin of {self.size_min}..{self.size_max} bytes"


@dataclass(frozen=True)
class Maybe(Kind):
    """The inner kind, or nil."""

    inner: Kind

    def expression(self, value: str, names: Names) -> str:
        return f"({value} is None or ({self.inner.expression(value, names)}))"

    def allowed(self) -> str:
        return f"nil or {self.inner.allowed()}"


@dataclass(frozen=True)
class ListOf(Kind):
    """A list of `count_min` to `count_max` values of one kind."""

    inner: Kind
    count_max: int
    count_min: int = 0

    def expression(self, value: str, names: Names) -> str:
        inner = _bind(names, compile_kind(self.inner))
        return (
            f"type({value}) is list and {self.count_min} <= len({value}) <= {self.count_max}"
            f" and all(map({inner}, {value}))"
        )

    def allowed(self) -> str:
        return f"array of {self.count_min}..{self.count_max}: {self.inner.allowed()}"


@dataclass(frozen=True)
class MapOf(Kind):
    """A map of at most `count_max` pairs."""

    key: Kind
    value: Kind
    count_max: int

    def expression(self, value: str, names: Names) -> str:
        key = _bind(names, compile_kind(self.key))
        inner = _bind(names, compile_kind(self.value))
        return (
            f"type({value}) is dict and len({value}) <= {self.count_max}"
            f" and all(map({key}, {value})) and all(map({inner}, {value}.values()))"
        )

    def allowed(self) -> str:
        return f"map of at most {self.count_max}: {self.key.allowed()} -> {self.value.allowed()}"


@dataclass(frozen=True)
class Record(Kind):
    """An array holding the fields of a `NamedTuple`, in order; trailing defaults may be left out."""

    shape: type
    count_min: int = field(init=False)

    def __post_init__(self) -> None:
        fields = self.shape._fields  # type: ignore[attr-defined]
        defaults = self.shape._field_defaults  # type: ignore[attr-defined]
        object.__setattr__(self, "count_min", len(fields) - len(defaults))

    def expression(self, value: str, names: Names) -> str:
        return f"{_bind(names, compile_check(self.shape))}({value})"

    def allowed(self) -> str:
        return f"`{self.shape.__name__}` as an array"


def kinds_of(shape: type) -> dict[str, Kind]:
    """Field name -> kind of a `NamedTuple` whose annotations are `Annotated[type, kind]`."""
    hints = get_type_hints(shape, include_extras=True)
    kinds = {}
    for name in shape._fields:  # type: ignore[attr-defined]
        kind = next((k for k in getattr(hints[name], "__metadata__", ()) if isinstance(k, Kind)), None)
        assert kind is not None, f"{shape.__name__}.{name} has no kind"
        kinds[name] = kind
    return kinds


def compile_kind(kind: Kind) -> Callable[[Any], bool]:
    """A function that is true for legal values of the kind."""
    names: Names = {}
    source = kind.expression("v", names)
    return eval(f"lambda v: {source}", names)  # type: ignore[no-any-return]  # noqa: S307


_compiled: dict[type, Callable[[Any], bool]] = {}


def compile_check(shape: type) -> Callable[[Any], bool]:
    """A function that is true for a list which holds legal fields of `shape`.

    Trailing fields that have defaults may be missing: `lambda v` unpacks with those defaults.
    """
    found = _compiled.get(shape)
    if found is not None:
        return found
    names: Names = {}
    kinds = kinds_of(shape)
    defaults = shape._field_defaults  # type: ignore[attr-defined]
    parameters = []
    for name in kinds:
        default = f"={_bind(names, defaults[name])}" if name in defaults else ""
        parameters.append(f"f_{name}{default}")
    # A left-out field holds its default, which need not pass the wire's check (tuples, enums).
    checks = [
        (f"(f_{n} is {_bind(names, defaults[n])} or {k.expression(f'f_{n}', names)})" if n in defaults
         else f"({k.expression(f'f_{n}', names)})")
        for n, k in kinds.items()
    ]
    least = len(kinds) - len(defaults)
    fields = _bind(names, eval(f"lambda {', '.join(parameters)}: {' and '.join(checks) or 'True'}", names))  # noqa: S307
    source = f"lambda v: type(v) is list and {least} <= len(v) <= {len(kinds)} and {fields}(*v)"
    check: Callable[[Any], bool] = eval(source, names)  # noqa: S307
    _compiled[shape] = check
    return check


def explain(shape: type, values: Any, path: str = "") -> str:
    """Which field of `values` is wrong and what is allowed; called only after a check said no."""
    kinds = kinds_of(shape)
    if type(values) is not list:
        return f"{path or shape.__name__}: expected an array, got {_shown(values)}"
    least = len(kinds) - len(shape._field_defaults)  # type: ignore[attr-defined]
    if not least <= len(values) <= len(kinds):
        return f"{path or shape.__name__}: expected {least}..{len(kinds)} fields, got {len(values)}"
    for (name, kind), value in zip(kinds.items(), values, strict=False):
        where = f"{path}.{name}" if path else name
        wrong = _explain_kind(kind, value, where)
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
    if isinstance(kind, ListOf) and type(value) is list and len(value) <= kind.count_max:
        for position, inner in enumerate(value):
            wrong = _explain_kind(kind.inner, inner, f"{where}[{position}]")
            if wrong:
                return wrong
    return f"{where}: got {_shown(value)}, allowed: {kind.allowed()}"


def _shown(value: Any) -> str:
    if isinstance(value, (bytes, list, dict)):
        return f"{type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
