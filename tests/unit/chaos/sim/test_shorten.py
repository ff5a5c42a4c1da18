"""Shortening keeps what is needed and nothing else."""

from __future__ import annotations

from itertools import combinations

from chaos.sim.shorten import shorten


def test_every_pair_of_causes_is_found() -> None:
    for causes in combinations(range(12), 2):
        found = shorten(list(range(12)), lambda kept, c=causes: set(c) <= set(kept))  # type: ignore[misc]
        assert found == list(causes)


def test_nothing_is_left_of_what_fails_by_itself() -> None:
    assert shorten([1, 2, 3], lambda kept: True) == []


def test_what_is_needed_as_a_whole_stays() -> None:
    assert shorten([1, 2, 3, 4], lambda kept: len(kept) == 4) == [1, 2, 3, 4]


def test_tries_are_bounded() -> None:
    tries = 0

    def fails(kept: list[int]) -> bool:
        nonlocal tries
        tries += 1
        return len(kept) >= 50

    assert len(shorten(list(range(100)), fails, tries_max=10)) >= 50
    assert tries <= 10
