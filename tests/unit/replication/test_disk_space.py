"""L6: what grows is refused below the reserve, and taken again when there is room."""

from __future__ import annotations

from cluster.replication.disk_space import DiskSpace
from taskq.errors import ErrorCode
from tests.unit.replication.rig import Rig

RESERVE = 1_000_000


class Free:
    """A disk with so many free bytes; None: it cannot be asked."""

    def __init__(self, size: int | None) -> None:
        self.size = size

    def __call__(self) -> int:
        if self.size is None:
            raise OSError("input/output error")
        return self.size


def test_refuses_below_the_reserve_and_recovers_above_it() -> None:
    free = Free(RESERVE)
    space = DiskSpace(free, RESERVE)
    space.look()
    assert space.refusal is None
    free.size = RESERVE - 1
    space.look()
    assert space.refusal is not None
    assert space.refusal.code == ErrorCode.DISK_FULL.value
    assert space.refusal.retry_after_ms > 0
    assert not space.refusal.unknown
    assert "disk_reserve_bytes" in space.refusal.message
    free.size = RESERVE
    space.look()
    assert space.refusal is not None, "a byte more is no room: it would flap"
    free.size = RESERVE * 2
    space.look()
    assert space.refusal is None
    assert space.free_bytes == RESERVE * 2


def test_a_disk_that_cannot_be_asked_changes_nothing() -> None:
    free = Free(0)
    space = DiskSpace(free, RESERVE)
    space.look()
    free.size = None
    space.look()
    assert space.refusal is not None
    free.size = RESERVE * 2
    space.look()
    free.size = None
    space.look()
    assert space.refusal is None


def test_no_reserve_refuses_nothing() -> None:
    space = DiskSpace(Free(0), 0)
    space.look()
    assert space.refusal is None


def test_what_was_taken_on_and_is_not_written_yet_counts_as_used() -> None:
    space = DiskSpace(Free(RESERVE * 2), RESERVE)
    space.owed = lambda: RESERVE
    space.look()
    assert space.refusal is None
    space.owed = lambda: RESERVE + 1
    space.look()
    assert space.refusal is not None
    assert space.free_bytes == RESERVE * 2


def test_log_and_state_owe_what_they_have_yet_to_write(rig: Rig) -> None:
    size = 100_000
    rig.settled()
    rig.tick(1)
    rig.settled()
    assert rig.driver.owed_bytes < size
    rig.submit(1, size=size)
    rig.submit(2, size=size)
    assert rig.driver.unlooked_bytes > size
    rig.log.finish()
    rig.loop.settle()
    assert rig.driver.owed_bytes > 2 * size, "one task is in the overlay, the other in an entry"
    rig.log.finish()
    rig.tick(1)
    assert rig.state.waiting, "the state is being written"
    assert rig.driver.owed_bytes > 2 * size
    rig.settled()
    assert rig.driver.owed_bytes < size
