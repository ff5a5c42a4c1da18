"""When the log may forget, and what it never may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.checkpoint import TAIL_SIZE, Checkpoints


class Log:
    """A log of entries of 1,000 bytes."""

    def __init__(self, first: int, last: int) -> None:
        self.first_index, self.last = first, last

    @property
    def appended_size(self) -> int:
        return self.last * 1_000

    def tail_start(self, size: int) -> int:
        return max(self.last - size // 1_000, self.first_index)


def test_due_by_time_and_by_size() -> None:
    checkpoints = Checkpoints(300, 1_000_000, 0)
    log = Log(1, 900)
    assert checkpoints.due(299, log, 900) is None
    assert checkpoints.due(300, log, 900) is None, "all of it is tail"
    log.last = 1_500
    assert checkpoints.due(599, log, 1_500) is None
    assert checkpoints.due(600, log, 1_500) == 500, "the tail is no more than a checkpoint's size"
    log.first_index, log.last = 500, 2_500
    assert checkpoints.due(610, log, 2_500) == 1_500, "a million bytes have come"
    log.first_index = 1_500
    assert checkpoints.due(620, log, 2_500) is None


def test_what_earlier_processes_left_counts() -> None:
    """A node that restarts before it has written so much must cut its log all the same."""
    assert Checkpoints(300, 1_000_000, 0).due(1, Log(1, 5_000), 5_000) == 4_000


def test_a_large_checkpoint_size_keeps_the_full_tail() -> None:
    checkpoints = Checkpoints(0, 1 << 40, 0)
    log = Log(1, 1_000_000)
    start = checkpoints.due(1, log, 1_000_000)
    assert start is not None
    assert (log.last - start) * 1_000 in range(TAIL_SIZE - 1_000, TAIL_SIZE + 1_000)


@given(
    first=st.integers(1, 50),
    count=st.integers(0, 100),
    written=st.integers(0, 150),
    size=st.integers(0, 100_000),
)
def test_two_entries_stay_at_or_below_the_state(
    first: int, count: int, written: int, size: int
) -> None:
    log = Log(first, first + count)
    start = Checkpoints(0, size, 0).due(1, log, min(written, log.last))
    if start is not None:
        assert first < start <= written - 1
