"""Sizes as people write them (`64KiB`, `1.5 GiB`) and as they read them. Bytes throughout."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_BINARY = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
# ASCII only, and short: `\d` would take digits of every script, and a long number takes time.
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,18})?) ?([A-Za-z]{0,3})")


def parse_size(text: str) -> int:
    """Bytes in `text`: a number and B, KB, MB, GB, TB (powers of 1000) or KiB ... (of 1024).

    Raises ValueError for anything else, and for a fraction of a byte.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError("not a size")
    # Exact: a float would turn 0.1 GiB into a byte more or less.
    size = Fraction(found[1]) * _UNITS[found[2].lower()]
    if size.denominator != 1:
        raise ValueError("not a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """The shortest exact text for a number of bytes: 1048576 is `1MiB`, 1000 is `1000`."""
    for unit, factor in _BINARY:
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
