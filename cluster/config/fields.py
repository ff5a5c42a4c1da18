"""The kinds of value that a key can hold: type, range, unit and what to tell people about it.

Each function makes the pydantic field of one key. The words in `allowed` are what a mistake
quotes, so they are built from the same numbers that are enforced.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo

from cluster.config.units import format_size, parse_size

PORT_MAX = 65_535


def _not_a_flag(value: Any) -> Any:
    # Python counts True as 1, so that `port: yes` would be port 1.
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


def _as_size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else _not_a_flag(value)


Whole = Annotated[int, BeforeValidator(_not_a_flag)]
Number = Annotated[float, BeforeValidator(_not_a_flag)]
Size = Annotated[int, BeforeValidator(_as_size)]


def port(default: int, about: str) -> Any:
    """A TCP port; 0 lets the system pick a free one."""
    allowed = f"a port from 1 to {PORT_MAX}, or 0 for any free one"
    return _field(default, about, allowed, ge=0, le=PORT_MAX)


def count(default: int, about: str, least: int, most: int, unit: str = "") -> Any:
    """A whole number in a range."""
    allowed = f"a whole number from {least} to {most}" + (f" ({unit})" if unit else "")
    return _field(default, about, allowed, unit, ge=least, le=most)


def size(default: int, about: str, least: int, most: int) -> Any:
    """A number of bytes, as a number or with a unit."""
    reach = f"from {format_size(least)} to {format_size(most)}"
    return _field(default, about, f"a size {reach}, such as 1048576 or 1MiB", "bytes", least, most)


def span(default: float, about: str, least: float, most: float, unit: str) -> Any:
    """A length of time; fractions are allowed."""
    allowed = f"a number from {least:g} to {most:.10g} ({unit})"
    return _field(float(default), about, allowed, unit, ge=least, le=most)


def flag(default: bool, about: str) -> Any:
    """A switch."""
    return _field(default, about, "true or false")


def text(default: Any, about: str, allowed: str) -> Any:
    """Text, a list, or a choice; `allowed` says which. An empty text is never allowed."""
    return _field(default, about, allowed)


def _field(
    default: Any,
    about: str,
    allowed: str,
    unit: str = "",
    ge: float | None = None,
    le: float | None = None,
) -> Any:
    extra: dict[str, Any] = {"allowed": allowed, "unit": unit}
    return Field(default, description=about, json_schema_extra=extra, ge=ge, le=le)


def allowed(field: FieldInfo) -> str:
    """What a key made here may hold, in words."""
    return _extra(field, "allowed")


def unit(field: FieldInfo) -> str:
    """The unit of a key made here, or nothing."""
    return _extra(field, "unit")


def _extra(field: FieldInfo, name: str) -> str:
    extra = field.json_schema_extra
    assert isinstance(extra, dict), "made by another function than those above"
    return str(extra[name])
