"""The page's part about seeds: runs of one commit are one row, and a broken promise is told."""

from __future__ import annotations

import json
from typing import Any

from chaos.sim.page import page


def row(commit: str, first: int, end: int, **broken: str) -> dict[str, Any]:
    return {
        "when": "2026-11-21 22:12",
        "commit": commit,
        "seeds": [first, end],
        "run": end - first,
        "virtual_secs": 1800,
        "wall_secs": 30.0,
        "counts": {"calls": 500, "kill": 3},
        "broken": {name.lstrip("s"): text for name, text in broken.items()},
    }


def told(*rows: dict[str, Any]) -> list[str]:
    lines = page("".join(json.dumps(one) + "\n" for one in rows))
    return [line for line in lines if line.startswith("| 2026")]


def test_runs_of_one_commit_are_one_row() -> None:
    older, newer, newest = row("a1", 0, 50), row("b2", 50, 100), row("b2", 100, 150)
    first, second = told(older, newer, newest)
    assert "| b2 | 100 of 50:150 | 1.0 | 1.0 | 1,000 |" in first
    assert "| a1 | 50 of 0:50 | 0.5 | 0.5 | 500 |" in second
    assert first.endswith("| 0 |")


def test_a_broken_promise_is_told_with_its_seed() -> None:
    (line,) = told(row("a1", 0, 50, s17="P1: a task | is gone\nfor ever"))
    assert line.endswith("| 17: P1: a task / is gone for ever |")


def test_a_gap_between_seeds_is_told() -> None:
    (line,) = told(row("a1", 0, 50), row("a1", 70, 80))
    assert "60 of 0:50, 70:80" in line
