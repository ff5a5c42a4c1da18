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
    log = Log(1, 5_000)
    assert checkpoints.due(10, log, 5_000) is None
    assert checkpoints.due(299, log, 5_000) is None
    assert checkpoints.due(300, log, 5_000) == 4_000, "the tail is no more than a checkpoint's size"
    assert checkpoints.due(599, log, 5_000) is None
    log.first_index, log.last = 4_000, 6_000
    assert checkpoints.due(310, log, 6_000) == 5_000, "a million bytes have come"
    log.first_index = 5_000
    assert checkpoints.due(320, log, 6_000) is None


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
