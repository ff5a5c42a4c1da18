"""A14: the running digest of a state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.digests import KEPT, WINDOW, Digests

written = st.lists(st.integers(0, 2**32 - 1), min_size=3 * WINDOW, max_size=4 * WINDOW)


def run(digests: Digests, entries: list[int], start: int) -> Digests:
    """Applies entries from index `start` on."""
    for index, one in enumerate(entries, start):
        digests.add(index, one)
    return digests


@given(written, st.data())
def test_one_entry_that_differs_shows_at_every_later_index(
    entries: list[int], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(entries) - 1))
    other = list(entries)
    other[place] ^= data.draw(st.integers(1, 2**32 - 1))
    one, two = run(Digests(0, 0), entries, 1), run(Digests(0, 0), other, 1)
    for index in range(WINDOW, len(entries) + 1, WINDOW):
        same = one.of(index) == two.of(index)
        assert same == (index < place + 1)
    assert one.digest != two.digest


@given(written, st.data())
def test_a_state_that_is_opened_again_goes_on_where_it_was(
    entries: list[int], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(entries)))
    whole = run(Digests(0, 0), entries, 1)
    before = run(Digests(0, 0), entries[:cut], 1)
    after = run(Digests(cut, before.digest), entries[cut:], cut + 1)
    assert after.digest == whole.digest
    for index in range(WINDOW, len(entries) + 1, WINDOW):
        known = index >= max(cut, 1)
        assert after.of(index) == (whole.of(index) if known else None)


def test_nothing_can_be_compared_before_the_first_window_is_whole() -> None:
    digests = Digests(10, 99)
    assert digests.latest == (0, 0)
    assert digests.of(0) is None
    run(digests, [1] * (WINDOW - 11), 11)
    assert digests.latest == (0, 0)
    digests.add(WINDOW, 1)
    assert digests.latest == (WINDOW, digests.digest)


def test_what_is_kept_is_bounded() -> None:
    digests = run(Digests(0, 0), [1] * (WINDOW * (KEPT + 10)), 1)
    assert len(digests._kept) == KEPT
    assert digests.of(WINDOW * 10) is None
    assert digests.of(WINDOW * 11) is not None
