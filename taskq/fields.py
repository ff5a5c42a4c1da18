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
from functools import cache
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
    """Text of `size_min` to `size_max` characters; a `pattern` must match the whole of it."""

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
class Answer(Kind):
    """One answer inside a batch: `[true, fields of a reply]` or `[false, fields of a refusal]`."""

    def expression(self, value: str, names: Names) -> str:
        return (
            f"type({value}) is list and len({value}) == 2"
            f" and type({value}[0]) is bool and type({value}[1]) is list"
        )

    def allowed(self) -> str:
        return "array `[true, reply]` or `[false, refusal]`"


@dataclass(frozen=True)
class Record(Kind):
    """An array of the fields of a `NamedTuple`, in order; trailing defaults may be left out."""

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


@cache
def kinds_of(shape: type) -> dict[str, Kind]:
    """Field name -> kind of a `NamedTuple` whose annotations are `Annotated[type, kind]`."""
    hints = get_type_hints(shape, include_extras=True)
    kinds = {}
    for name in shape._fields:  # type: ignore[attr-defined]
        metadata = getattr(hints[name], "__metadata__", ())
        kind = next((k for k in metadata if isinstance(k, Kind)), None)
        assert kind is not None, f"{shape.__name__}.{name} has no kind"
        kinds[name] = kind
    return kinds


@cache
def compile_kind(kind: Kind) -> Callable[[Any], bool]:
    """A function that is true for legal values of the kind."""
    names: Names = {}
    source = kind.expression("v", names)
    return eval(f"lambda v: {source}", names)  # type: ignore[no-any-return]  # noqa: S307


def counts_of(shape: type) -> tuple[int, int]:
    """How many fields an array for `shape` has at least and at most."""
    most = len(shape._fields)  # type: ignore[attr-defined]
    return most - len(shape._field_defaults), most  # type: ignore[attr-defined]


@cache
def compile_check(shape: type) -> Callable[[Any], bool]:
    """A function that is true for a list which holds legal fields of `shape`."""
    names: Names = {}
    parameters, checks = _parameters_and_checks(shape, names)
    fields = _bind(names, eval(f"lambda {parameters}: {checks}", names))  # noqa: S307
    least, most = counts_of(shape)
    source = f"lambda v: type(v) is list and {least} <= len(v) <= {most} and {fields}(*v)"
    return eval(source, names)  # type: ignore[no-any-return]  # noqa: S307


@cache
def compile_make(shape: type) -> Callable[..., Any]:
    """A function of the fields of `shape`: an instance, or None where a field is not legal.

    One call checks and builds, because it runs for every message. The caller counts the fields.
    """
    names: Names = {}
    parameters, checks = _parameters_and_checks(shape, names)
    new, cls = _bind(names, tuple.__new__), _bind(names, shape)
    values = "".join(f"f_{name}, " for name in kinds_of(shape))
    source = f"lambda {parameters}: {new}({cls}, ({values})) if {checks} else None"
    return eval(source, names)  # type: ignore[no-any-return]  # noqa: S307


def _parameters_and_checks(shape: type, names: Names) -> tuple[str, str]:
    """Source of the parameters (with defaults) of a function of all fields, and of its test."""
    defaults = shape._field_defaults  # type: ignore[attr-defined]
    parameters, checks = [], []
    for name, kind in kinds_of(shape).items():
        legal = kind.expression(f"f_{name}", names)
        if name in defaults:
            default = _bind(names, defaults[name])
            parameters.append(f"f_{name}={default}")
            # A field that is left out, or holds its default, is decided by one comparison.
            checks.append(f"(f_{name} is {default} or {legal})")
        else:
            parameters.append(f"f_{name}")
            checks.append(f"({legal})")
    return ", ".join(parameters), " and ".join(checks) or "True"
