"""Windows of what is next against the sorted keys, of any size and rebuilt at any moment."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from taskq.machine import keys, ready
from taskq.machine.view import MemoryView

QUEUES = ("a", "b", "c")
places = st.tuples(st.integers(0, 3), st.integers(1, 30))
steps = st.one_of(
    st.tuples(st.just("push"), st.sampled_from(QUEUES), places),
    st.tuples(st.just("pop"), st.sampled_from(QUEUES), st.none()),
    st.tuples(st.just("drop"), st.sampled_from(QUEUES), st.integers(0, 9)),
    st.tuples(st.just("rebuild"), st.sampled_from(QUEUES), st.none()),
    st.tuples(st.just("delete"), st.sampled_from(QUEUES), st.none()),
)


@given(
    first=st.integers(1, 2),
    refill=st.integers(2, 4),
    total=st.integers(0, 6),
    script=st.lists(steps, max_size=80),
)
def test_each_window_gives_the_smallest_place_of_its_queue(
    first: int, refill: int, total: int, script: list[tuple[str, str, object]]
) -> None:
    view = MemoryView()
    waiting: dict[str, set[tuple[int, int]]] = {queue: set() for queue in QUEUES}
    low = dict.fromkeys(QUEUES, (0, 0))
    limits = {"FIRST_COUNT": first, "REFILL_COUNT": refill, "TOTAL_COUNT": total}
    with patch.multiple(ready, **limits):
        rooms = ready.Rooms()
        windows = {queue: ready.ReadyWindow(view, rooms, queue, None) for queue in QUEUES}
        for verb, queue, value in script:
            window, mine, prefix = windows[queue], waiting[queue], keys.ready_prefix(queue)
            if verb == "push" and value not in mine:
                assert isinstance(value, tuple)
                mine.add(value)
                low[queue] = min(low[queue], value)
                view.create(prefix + keys.place(*value), b"%d-%d" % value)
                window.push(keys.place(*value), b"%d-%d" % value)
            elif verb == "pop":
                found = next_live(window, mine)
                assert found == min(mine, default=None)
                if found is not None:
                    mine.remove(found)
                    view.delete(prefix + keys.place(*found))
                    low[queue] = found
            elif verb == "drop" and mine:
                # Cancelled: it leaves the keys, and the window finds out when it comes up.
                gone = sorted(mine)[int(str(value)) % len(mine)]
                mine.remove(gone)
                view.delete(prefix + keys.place(*gone))
            elif verb == "delete" and not mine:  # the queue, and it is made anew
                rooms.leave(window)
                windows[queue] = ready.ReadyWindow(view, rooms, queue, None)
                low[queue] = (0, 0)
            elif verb == "rebuild":  # as a restart does with all
                rooms = ready.Rooms()
                windows = {
                    one: ready.ReadyWindow(view, rooms, one, keys.before(keys.place(*low[one])))
                    for one in QUEUES
                }
            held = {one: len(window._next) for one, window in windows.items()}
            assert all(count <= 2 * windows[one].room for one, count in held.items())
            grown = sum(window.room - first for window in windows.values())
            assert rooms._total == grown
            assert grown <= max(total, refill - first), "one window may always grow"
        for queue, window in windows.items():
            while (found := next_live(window, waiting[queue])) is not None:
                assert found == min(waiting[queue])
                waiting[queue].remove(found)
            assert not waiting[queue]


def next_live(window: ready.ReadyWindow, waiting: set[tuple[int, int]]) -> tuple[int, int] | None:
    """Pops as a claim does: what is no longer ready is passed over."""
    while (popped := window.pop()) is not None:
        place, task_id = keys.from_place(popped[0]), popped[1]
        assert task_id == b"%d-%d" % place
        if place in waiting:
            return place
    return None
