"""The index of deadlines against a sorted list, rebuilt from what it stores at any moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskq.machine import keys
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


@given(st.lists(steps, max_size=60))
def test_the_index_is_a_sorted_list(script: list[tuple[str, object]]) -> None:
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
            expected = [due for due in listed if due[0] <= until][:limit]
            assert [(due.when, due.rest) for due in taken] == expected
            assert all(due.value == b"v" for due in taken)
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


@given(st.lists(steps, max_size=40), st.lists(st.booleans(), min_size=40, max_size=40))
def test_what_is_stored_does_not_depend_on_restarts(
    script: list[tuple[str, object]], restarts: list[bool]
) -> None:
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
