"""A mapping is read whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Unsupported(Exception):
    """A field that the harness does not act upon: it would be tested in name only."""


def only(what: str, found: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises Unsupported where there is a key beside those that are known."""
    strange = sorted(set(found) - set(known))
    if strange:
        raise Unsupported(f"{what}: the harness does not know {', '.join(strange)}")
