"""The window of what is next against the sorted keys, of any size and rebuilt at any moment."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from taskq.machine import keys, ready
from taskq.machine.view import MemoryView

PREFIX = keys.ready_prefix("q")
places = st.tuples(st.integers(0, 3), st.integers(1, 30))
steps = st.one_of(
    st.tuples(st.just("push"), places),
    st.tuples(st.just("pop"), st.none()),
    st.tuples(st.just("drop"), st.integers(0, 9)),
    st.tuples(st.just("rebuild"), st.integers(0, 3)),
)


@given(refill=st.integers(1, 4), script=st.lists(steps, max_size=60))
def test_the_window_gives_the_smallest_place(refill: int, script: list[tuple[str, object]]) -> None:
    view, waiting = MemoryView(), set[tuple[int, int]]()
    low = (0, 0)
    with patch.multiple(ready, REFILL_COUNT=refill, WINDOW_COUNT_MAX=2 * refill):
        window = ready.ReadyWindow(view, "q", None)
        for verb, value in script:
            if verb == "push" and value not in waiting:
                assert isinstance(value, tuple)
                waiting.add(value)
                low = min(low, value)
                view.create(PREFIX + keys.place(*value), b"%d-%d" % value)
                window.push(keys.place(*value), b"%d-%d" % value)
            elif verb == "pop":
                found = next_live(window, waiting)
                assert found == min(waiting, default=None)
                if found is not None:
                    waiting.remove(found)
                    view.delete(PREFIX + keys.place(*found))
                    low = found
            elif verb == "drop" and waiting:
                # Cancelled: it leaves the keys, and the window finds out when it comes up.
                gone = sorted(waiting)[int(str(value)) % len(waiting)]
                waiting.remove(gone)
                view.delete(PREFIX + keys.place(*gone))
            elif verb == "rebuild":
                window = ready.ReadyWindow(view, "q", keys.before(keys.place(*low)))
            assert len(window._next) <= 2 * refill
        while (found := next_live(window, waiting)) is not None:
            assert found == min(waiting)
            waiting.remove(found)
        assert not waiting


def next_live(window: ready.ReadyWindow, waiting: set[tuple[int, int]]) -> tuple[int, int] | None:
    """Pops as a claim does: what is no longer ready is passed over."""
    while (popped := window.pop()) is not None:
        place, task_id = keys.from_place(popped[0]), popped[1]
        assert task_id == b"%d-%d" % place
        if place in waiting:
            return place
    return None
