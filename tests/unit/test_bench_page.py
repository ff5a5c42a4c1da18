"""The page of measurements says what the files of measurements say, and nothing else."""

from __future__ import annotations

from bench.record import BACKLOGS, PAGE, RESULTS, SHARES, page


def test_page_is_made_from_the_results() -> None:
    made = page(*(file.read_text() for file in (RESULTS, SHARES, BACKLOGS)))
    assert PAGE.read_text() == made, "measure anew, do not edit"


def test_page_changes_with_the_results() -> None:
    results, shares, backlogs = (file.read_text() for file in (RESULTS, SHARES, BACKLOGS))
    first = results.splitlines(keepends=True)[-1]
    made = page(results, shares, backlogs)
    assert page(results + first.replace('"rate": ', '"rate": 1'), shares, backlogs) != made
    assert page(results, shares.replace("0.1", "0.2"), backlogs) != made
    assert page(results, shares, backlogs.replace('"claims_ratio": ', '"claims_ratio": 1')) != made
