"""The page of measurements says what the files of measurements say, and nothing else."""

from __future__ import annotations

from bench.record import FILES, PAGE, page


def test_page_is_made_from_the_results() -> None:
    made = page(*(file.read_text() for file in FILES))
    assert PAGE.read_text() == made, "measure anew, do not edit"


def test_page_changes_with_the_results() -> None:
    results, shares, *rest = (file.read_text() for file in FILES)
    first = results.splitlines(keepends=True)[-1]
    made = page(results, shares, *rest)
    assert page(results + first.replace('"rate": ', '"rate": 1'), shares, *rest) != made
    assert page(results, shares.replace("0.1", "0.2"), *rest) != made
    backlogs, workers, backups = rest
    other = backlogs.replace('"claims_ratio": ', '"claims_ratio": 1')
    assert page(results, shares, other, workers, backups) != made
    other = workers.replace('"rate": ', '"rate": 1')
    assert page(results, shares, backlogs, other, backups) != made
    other = backups.replace('"file_size": ', '"file_size": 1')
    assert page(results, shares, backlogs, workers, other) != made
