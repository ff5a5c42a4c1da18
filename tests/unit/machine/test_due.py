"""The index of deadlines against a sorted list, rebuilt from what it stores at any moment."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from taskq.machine import due, keys
from taskq.machine.due import NEVER, DueIndex
from taskq.machine.view import MemoryView

whens = st.integers(0, 20) | st.sampled_from([255, 256, 65_535, NEVER - 1])
rests = st.sampled_from([bytes(16), bytes(15) + b"\x01", b"\xff" * 16, b"m" * 16, bytes(8)])
steps = st.one_of(
    st.tuples(st.just("add"), st.tuples(whens, rests)),
    st.tuples(st.just("remove"), st.integers(0, 50)),
    st.tuples(st.just("take"), st.tuples(whens, st.integers(0, 4))),
    st.tuples(st.just("next"), st.none()),
    st.tuples(st.just("rebuild"), st.none()),
)


windows = st.sampled_from([1, 2, 3, 1_024])


@given(st.lists(steps, max_size=60), windows)
def test_the_index_is_a_sorted_list(script: list[tuple[str, object]], refill: int) -> None:
    with patch.multiple(due, REFILL_COUNT=refill, WINDOW_COUNT_MAX=2 * refill):
        _compare_with_a_list(script)


def _compare_with_a_list(script: list[tuple[str, object]]) -> None:
    # Neighbours in the map must not be taken for deadlines.
    view = MemoryView()
    view.put(b"r" + b"\xff" * 30, b"")
    view.put(b"t" + b"\x00" * 30, b"")
    index, twin = DueIndex(view, b"s", 0), DueIndex(view, b"s", 0)
    listed: list[tuple[int, bytes]] = []
    for verb, value in script:
        if verb == "add":
            assert isinstance(value, tuple)
            if value not in listed:
                index.add(*value, b"v")
                listed = sorted([*listed, value])
        elif verb == "remove" and listed:
            assert isinstance(value, int)
            index.remove(*listed.pop(value % len(listed)))
        elif verb == "take":
            assert isinstance(value, tuple)
            until, limit = value
            taken = index.take(until, limit)
            expected = [one for one in listed if one[0] <= until][:limit]
            assert [(one.when, one.rest) for one in taken] == expected
            assert all(one.value == b"v" for one in taken)
            listed = listed[len(expected) :]
        elif verb == "rebuild":
            index = DueIndex(view, b"s", index.low)
        elif verb == "next":
            assert index.next() == (listed[0][0] if listed else NEVER)
        assert all(when >= index.low for when, _ in listed)
    twin = DueIndex(view, b"s", index.low)
    assert twin.next() == index.next() == (listed[0][0] if listed else NEVER)
    assert [key for key, _ in view.scan(b"s", None, 99)] == [
        b"s" + keys.u64(when) + rest for when, rest in listed
    ]


@given(st.lists(steps, max_size=40), st.lists(st.booleans(), min_size=40, max_size=40), windows)
def test_what_is_stored_does_not_depend_on_restarts(
    script: list[tuple[str, object]], restarts: list[bool], refill: int
) -> None:
    with patch.multiple(due, REFILL_COUNT=refill, WINDOW_COUNT_MAX=2 * refill):
        _compare_with_restarts(script, restarts)


def _compare_with_restarts(script: list[tuple[str, object]], restarts: list[bool]) -> None:
    views = MemoryView(), MemoryView()
    straight, restarted = (DueIndex(view, b"s", 0) for view in views)
    for (verb, value), restart in zip(script, restarts, strict=False):
        if restart:
            restarted = DueIndex(views[1], b"s", restarted.low)
        for index, view in zip((straight, restarted), views, strict=True):
            if verb == "add" and isinstance(value, tuple):
                if view.get(b"s" + keys.u64(value[0]) + value[1]) is None:
                    index.add(*value)
            elif verb == "take" and isinstance(value, tuple):
                index.take(*value)
            elif verb == "next":
                straight.next()
        assert straight.low == restarted.low
        assert views[0].values == views[1].values
