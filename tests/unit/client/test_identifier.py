from __future__ import annotations

from uuid import RFC_4122, UUID

import pytest

from taskq.client.identifier import IdSource, new_task_id, task_id_bytes


class Clock:
    now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


def test_the_layout_is_that_of_uuid7():
    clock = Clock()
    value = UUID(bytes=IdSource(clock, lambda size: b"\xff" * size).next())
    assert (value.version, value.variant) == (7, RFC_4122)
    assert value.int >> 80 == clock.now
    # The counter starts in its lower half: its highest bit is the first after the version.
    assert value.bytes[6] == 0x77
    assert value.bytes[7:] == b"\xff" + b"\xbf" + b"\xff" * 7


def test_ids_grow_within_a_millisecond_across_them_and_when_the_clock_is_set_back():
    clock = Clock()
    source = IdSource(clock)
    ids = []
    for step in (0, 0, 1, 0, -5_000, 0, 4_000, 2_000):
        clock.now += step
        ids += [source.next() for _ in range(1_000)]
    assert ids == sorted(set(ids))


def test_a_counter_that_ends_borrows_a_millisecond():
    clock = Clock()
    source = IdSource(clock)
    first = source.next()
    source._counter = (1 << 42) - 1
    last, over = source.next(), source.next()
    assert first < last < over
    assert UUID(bytes=last).int >> 80 == clock.now + 1


def test_sources_with_the_same_history_differ_by_chance_alone():
    one, two = IdSource(Clock()), IdSource(Clock())
    one.next()
    two._last_ms, two._counter = one._last_ms, one._counter  # what a fork leaves
    assert one.next() != two.next()


def test_ids_are_sixteen_bytes_and_differ():
    ids = {new_task_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert {len(task_id) for task_id in ids} == {16}


def test_what_names_a_task():
    task_id = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert {task_id_bytes(form) for form in (task_id, str(task_id), task_id.bytes)} == {
        task_id.bytes
    }


@pytest.mark.parametrize("value", ["", "no id", b"short", b"x" * 17])
def test_what_names_none(value):
    with pytest.raises(ValueError, match="task id"):
        task_id_bytes(value)


def test_what_cannot_be_an_id():
    with pytest.raises(TypeError, match="task id: a UUID, its text or its bytes, not int"):
        task_id_bytes(5)
