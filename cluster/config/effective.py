"""The configuration in effect, key by key with its source: data for `taskq config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from cluster.config.checks import NOT_SERVED_YET
from cluster.config.fields import allowed, unit
from cluster.config.model import SECRET_PATHS, Config, keys
from cluster.config.units import format_size


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: its value and default as text, where it was set, and what it is for.

    `note` is "not served yet" where this version does not act upon the key.
    """

    path: str
    value: str
    default: str
    source: str
    unit: str
    allowed: str
    about: str
    note: str = ""


def effective(config: Config) -> list[Setting]:
    """Every key in order. Secrets are hidden: only whether, or how many, are set."""
    found: list[Setting] = []
    for path, field in keys().items():
        group, _, key = path.partition(".")
        found.append(
            Setting(
                path=path,
                value=as_text(path, getattr(getattr(config, group), key), unit(field)),
                default=as_text(path, field.default, unit(field)),
                source=config.source(path),
                unit=unit(field),
                allowed=allowed(field),
                about=field.description or "",
                note="not served yet" if path in NOT_SERVED_YET else "",
            )
        )
    return found


def as_text(path: str, value: Any, unit_of_key: str = "") -> str:
    """A value as YAML would have it, but for secrets; nothing set is an empty text."""
    if value is None:
        return ""
    if path in SECRET_PATHS:
        return "(hidden)" if isinstance(value, SecretStr) else f"({len(value)} keys)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if unit_of_key == "bytes":
        return format_size(value)
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, tuple):
        return ", ".join(str(member) for member in value)
    return str(value)
