"""The page of measurements says what the file of measurements says, and nothing else."""

from __future__ import annotations

from bench.record import PAGE, RESULTS, page


def test_page_is_made_from_the_results() -> None:
    assert PAGE.read_text() == page(RESULTS.read_text()), "run `python -m bench`, do not edit"


def test_page_changes_with_the_results() -> None:
    results = RESULTS.read_text()
    first = results.splitlines(keepends=True)[-1]
    assert page(results) != page(results + first.replace('"rate": ', '"rate": 1'))
