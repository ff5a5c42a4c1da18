"""Durations, sizes and dates as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskq.cli.quantity import (
    counted,
    date_text,
    duration_text,
    list_text,
    parse_duration,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "secs"),
    [
        ("5", 5.0),
        ("0.5", 0.5),
        ("5s", 5.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("1 h 30 m", 5400.0),
        ("2d", 172800.0),
        ("1.5M", 90.0),
    ],
)
def test_durations_as_people_type_them(text: str, secs: float) -> None:
    assert parse_duration(text) == secs


@pytest.mark.parametrize("text", ["", "s", "5x", "-5s", "5s!", "1e3", "5 5", "h1"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("secs", "text"),
    [
        (0, "0 s"),
        (0.0123, "0.0123 s"),
        (59.94, "59.9 s"),
        (60, "1 min"),
        (125.4, "2 min 5 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90061, "1 d 1 h"),
    ],
)
def test_durations_as_people_read_them(secs: float, text: str) -> None:
    assert duration_text(secs) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (2**50, "1024.0 TiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_dates_say_how_long_ago() -> None:
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    assert date_text(None) == ""
    assert date_text(now, now).endswith("(now)")
    assert date_text(now - timedelta(minutes=2), now).endswith("(2 min ago)")
    assert date_text(now + timedelta(hours=3), now).endswith("(in 3 h)")


def test_counts_and_lists() -> None:
    assert (counted(1, "task"), counted(2000, "task")) == ("1 task", "2,000 tasks")
    assert (list_text(["a"]), list_text("abc")) == ("a", "a, b and c")
