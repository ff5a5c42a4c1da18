"""Durations, sizes, dates and counts: as people type them, and as they read them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")


def parse_duration(text: str) -> float:
    """Seconds of "5", "5s", "500ms", "1h30m" or "2 d". Raises ValueError."""
    lower = text.lower()
    if re.fullmatch(r"\d+(\.\d+)?", lower):
        return float(lower)
    if not re.fullmatch(f"({_PART.pattern})+", lower):
        raise ValueError(f"{text!r} is no duration; write for example 5s, 500ms, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(lower))


def duration_text(secs: float) -> str:
    """ "0.25 s", "5 s", "2 min 5 s", "3 h", "2 d 4 h": two units at most."""
    if secs < 60:
        return f"{secs:.3g} s"
    rest, words = round(secs), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count} {unit}")
        elif words:
            break
    return " ".join(words[:2])


def size_text(size: int) -> str:
    """ "512 B", "1.5 KiB", "2.0 GiB"."""
    if size < 1024:
        return f"{size} B"
    scaled = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        scaled /= 1024
        if scaled < 1024 or unit == "TiB":
            return f"{scaled:.1f} {unit}"
    raise AssertionError("unreachable")


def count_text(count: int) -> str:
    """With thousands separated."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """ "1 task", "2,000 tasks"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def date_text(moment: datetime | None, now: datetime | None = None) -> str:
    """Local time to the second, and how long ago that was; empty for None."""
    if moment is None:
        return ""
    local = moment_text(moment)
    secs = ((now or datetime.now(UTC)) - moment).total_seconds()
    if abs(secs) < 1:
        return f"{local} (now)"
    away = duration_text(float(round(abs(secs))))
    return f"{local} ({away} ago)" if secs > 0 else f"{local} (in {away})"


def moment_text(moment: datetime | None) -> str:
    """Local time to the second; empty for None."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age_text(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago a moment was, in whole seconds; empty for None."""
    if moment is None:
        return ""
    secs = ((now or datetime.now(UTC)) - moment).total_seconds()
    return duration_text(float(max(0, round(secs))))


def list_text(words: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
