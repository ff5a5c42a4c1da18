"""Numbers as Kubernetes writes them."""

from __future__ import annotations

import re

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_FACTORS = _DECIMAL | _BINARY


def size_of(text: str | int) -> int:
    """Bytes of a quantity such as 512Mi. Raises ValueError."""
    found = re.fullmatch(r"(\d+)([A-Za-z]*)", str(text))
    if found is None or found[2] not in _FACTORS:
        raise ValueError(f"not a size: {text}")
    return int(found[1]) * _FACTORS[found[2]]


def count_of(text: str | int, whole: int) -> int:
    """A number, or a percentage of `whole`, rounded up, as budgets mean it. Raises ValueError."""
    if isinstance(text, int):
        return text
    if not text.endswith("%"):
        raise ValueError(f"neither a number nor a percentage: {text}")
    return -(-whole * int(text[:-1]) // 100)
