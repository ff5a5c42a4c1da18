from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.client.moment import datetime_of, duration_ms, seconds_of, wall_ms


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (0, 0),
        (1, 1_000),
        (0.1 + 0.2, 300),
        (0.0001, 1),
        (1.0011, 1_002),
        (timedelta(minutes=1), 60_000),
        (timedelta(microseconds=1), 1),
    ],
)
def test_durations(value, milliseconds):
    assert duration_ms(value, "delay") == milliseconds


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, timedelta(seconds=-1), 10**9 * 1.0])
def test_durations_that_make_no_sense(value):
    with pytest.raises(ValueError, match=r"^delay: "):
        duration_ms(value, "delay")


@pytest.mark.parametrize("value", ["1", None, True, 1j, datetime(2030, 1, 1, tzinfo=UTC)])
def test_what_is_no_duration(value):
    with pytest.raises(TypeError, match=r"^delay: seconds or a timedelta, not "):
        seconds_of(value, "delay")


def test_dates():
    plus_two = timezone(timedelta(hours=2))
    assert wall_ms(datetime(1970, 1, 1, 2, tzinfo=plus_two), "run_at") == 0
    assert wall_ms(datetime(2030, 1, 1, tzinfo=UTC), "run_at") == 1_893_456_000_000
    # Never early: what lies between two milliseconds is the later one.
    assert wall_ms(datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "run_at") == 1
    assert datetime_of(0) is None


def test_a_naive_date_is_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"run_at: .* has no time zone"):
        wall_ms(datetime(2030, 1, 1), "run_at")  # noqa: DTZ001


@pytest.mark.parametrize("year", [1969, 1800])
def test_dates_before_1970(year):
    with pytest.raises(ValueError, match="between the years 1970 and 9999"):
        wall_ms(datetime(year, 12, 31, tzinfo=UTC), "run_at")


def test_what_is_no_date():
    with pytest.raises(TypeError, match="run_at: a datetime"):
        wall_ms(1_893_456_000, "run_at")


@given(st.integers(1, 253_402_300_799_999))
def test_there_and_back(milliseconds):
    assert wall_ms(datetime_of(milliseconds), "run_at") == milliseconds
