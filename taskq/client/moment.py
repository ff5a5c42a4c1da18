"""Python's durations and dates to the wire's milliseconds, and back. Nothing is guessed."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from taskq.limits import DURATION_MS_MAX, WALL_MS_MAX

# What the public interface takes wherever it says duration: seconds, or a timedelta.
Duration = float | timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def seconds_of(value: Duration, name: str) -> float:
    """Seconds of a duration. Raises TypeError or ValueError naming the argument `name`."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif type(value) in (int, float):
        seconds = float(value)
    else:
        raise TypeError(f"{name}: seconds or a timedelta, not {type(value).__name__}")
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name}: must be a finite time of 0 seconds or more, not {value!r}")
    return seconds


def duration_ms(value: Duration, name: str) -> int:
    """Milliseconds of a duration, rounded up: what is longer than nothing stays so.

    Raises TypeError or ValueError naming the argument `name`.
    """
    # Rounded at the microsecond first: 0.1 + 0.2 seconds are 300 ms, not 301.
    milliseconds = math.ceil(round(seconds_of(value, name) * 1000, 3))
    if milliseconds > DURATION_MS_MAX:
        raise ValueError(f"{name}: at most ten years, not {value!r} (seconds are expected)")
    return milliseconds


def wall_ms(value: datetime, name: str) -> int:
    """Unix time in milliseconds, rounded up: never early.

    Raises TypeError or ValueError naming the argument `name`; a date without a time zone is one.
    """
    if not isinstance(value, datetime):
        raise TypeError(f"{name}: a datetime with a time zone, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{name}: {value!r} has no time zone; say which is meant,"
            " for example datetime.now(timezone.utc) or .astimezone()"
        )
    milliseconds = -((_EPOCH - value) // _MILLISECOND)
    if not 0 <= milliseconds <= WALL_MS_MAX:
        raise ValueError(f"{name}: must be between the years 1970 and 9999, not {value!r}")
    return milliseconds


def datetime_of(milliseconds: int) -> datetime | None:
    """The date of a wall time in UTC; None for 0, which means that the moment has not come."""
    return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds else None
