"""The page of results is what its files make, and the files are what runs wrote."""

from __future__ import annotations

import json

from chaos.live.soak_page import PLOTS, plotted
from chaos.record import PAGE, RESULTS, page, results, rows


def test_the_page_of_results_is_up_to_date() -> None:
    assert PAGE.read_text() == page(results()), "chaos/RESULTS.md differs from chaos/results/"


def test_the_plots_of_the_newest_soak_are_kept() -> None:
    row = plotted(reversed(rows("soak")))
    assert row is not None
    plots = (RESULTS / PLOTS).read_text()
    assert f"{row['when']} UTC, commit {row['commit']}" in plots
    assert f"{row['acknowledged']:,}" in plots


def test_every_run_of_kills_had_requests_unanswered_at_each_kill() -> None:
    rows = [json.loads(line) for line in results()["kill"].splitlines()]
    assert rows
    for row in rows:
        assert len(row["in_flight"]) == row["rounds"]
        assert min(row["in_flight"]) >= 1


def test_a_changed_result_changes_the_page() -> None:
    found = results()
    row = json.loads(found["kill"].splitlines()[-1])
    row["violations"] += 1
    changed = page({**found, "kill": json.dumps(row)})
    assert changed != page(found)
    assert f"| {row['violations']} |" in changed
