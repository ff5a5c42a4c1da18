"""The table of exercises: made of the kept results, and the one that stands in the page."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.harness import record

ROW: dict[str, Any] = {
    "commit": "abc",
    "when": "2026-11-22 07:00",
    "machine": "2 cores",
    "exercise": "rolling-restart",
    "overlay": "development",
    "took": 40.2,
    "gap": 0.0501,
    "calls": {"ok": 1000, "unknown": 2},
    "tasks": {"ready": 3, "completed": 4},
    "lost": 0,
    "doubled": 0,
    "load_average": 2.5,
    "rules": {},
}


def test_the_page_has_the_table_of_the_kept_results() -> None:
    page = record.PAGE.read_text("utf-8")
    assert page == record.with_table(page, record.rows()), "make docs"


def test_nothing_was_lost_or_doubled_in_any_run() -> None:
    found = record.rows()
    assert found
    assert [row for row in found if row["lost"] or row["doubled"] or row["rules"]] == []


def test_a_table() -> None:
    broken = {**ROW, "gap": 0.2, "took": None, "lost": 1, "rules": {"acknowledged_submits": 1}}
    lines = record.table([ROW, broken])
    assert lines[0] == "2 runs, 2,004 calls, 14 tasks; on 2 cores."
    (line,) = (line for line in lines if "rolling-restart" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[2:] == [
        *("development", "2", "40", "50 - 200", "14", "1", "0", "0"),
        "2",
        "abc, 2026-11-22 07:00",
    ]


def test_a_page_without_its_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        record.with_table("# Page", [])
