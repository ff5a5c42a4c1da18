"""Tasks that ended, against a list: any number of records read ahead, rebuilt at any moment."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from taskq.machine import finished, keys
from taskq.machine.due import NEVER
from taskq.machine.view import MemoryView

# An entry: how much later it is, how many tasks end in it, what is taken from those not later
# than some time ago, and whether the machine is built anew after it.
entries = st.tuples(
    st.sampled_from([0, 0, 1, 5]),
    st.integers(0, 5),
    st.none() | st.tuples(st.sampled_from([0, 0, 2, 100]), st.integers(0, 7)),
    st.booleans(),
)


@given(refill=st.integers(1, 3), script=st.lists(entries, max_size=40))
def test_ids_leave_in_the_order_in_which_they_came(
    refill: int, script: list[tuple[int, int, tuple[int, int] | None, bool]]
) -> None:
    view, model = MemoryView(), list[tuple[int, bytes]]()
    wall, made = 0, 0
    with patch.object(finished, "REFILL_COUNT", refill):
        index = finished.Finished(view, keys.FIRST_PLACE, 0)
        for step, count, take, rebuild in script:
            wall += step
            for _ in range(count):
                made += 1
                index.add(made.to_bytes(16, "big"))
                model.append((wall, made.to_bytes(16, "big")))
            if take is not None:
                age, limit = take
                due = [task_id for ended, task_id in model if ended <= wall - age][:limit]
                assert index.take(wall, wall - age, limit) == due
                del model[: len(due)]
            index.save(wall)
            assert index.next() == (model[0][0] if model else NEVER)
            assert len(index._next) <= refill
            if rebuild:
                index = finished.Finished(view, index.low, index.count)
        assert index.take(wall, wall, 1_000) == [task_id for _, task_id in model]
    assert not view.values
    assert index.count == made


def test_a_task_may_leave_in_the_entry_in_which_it_ended() -> None:
    view = MemoryView()
    index = finished.Finished(view, keys.FIRST_PLACE, 0)
    index.add(b"a" * 16)
    assert index.take(5, 5, 10) == [b"a" * 16]
    index.add(b"b" * 16)
    index.save(5)
    assert list(view.values) == [keys.FINISHED + keys.place(5, 2)]


def test_a_restart_does_not_walk_what_has_left() -> None:
    view = MemoryView()
    index = finished.Finished(view, keys.FIRST_PLACE, 0)
    for wall in range(1, 200):
        index.add(wall.to_bytes(16, "big"))
        index.save(wall)
    assert len(index.take(200, 150, 1_000)) == 150
    assert index.low == keys.place(150, 150)
    assert finished.Finished(view, index.low, index.count).next() == 151
