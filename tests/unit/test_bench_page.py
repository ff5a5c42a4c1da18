"""The page of measurements says what the file of measurements says, and nothing else."""

from __future__ import annotations

from bench.record import PAGE, RESULTS, SHARES, page


def test_page_is_made_from_the_results() -> None:
    made = page(RESULTS.read_text(), SHARES.read_text())
    assert PAGE.read_text() == made, "measure anew, do not edit"


def test_page_changes_with_the_results() -> None:
    results, shares = RESULTS.read_text(), SHARES.read_text()
    first = results.splitlines(keepends=True)[-1]
    made = page(results, shares)
    assert page(results + first.replace('"rate": ', '"rate": 1'), shares) != made
    assert page(results, shares.replace("0.1", "0.2")) != made
