"""The table in SECURITY.md is that of the last run that was kept, and of all rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos.attack import page
from chaos.attack.rows import ROWS
from chaos.attack.samples import request, requests
from chaos.attack.tries import Tries
from chaos.record import rows
from taskq.registry import MESSAGES, Role, Sort

SECURITY = Path(__file__).parents[4] / "SECURITY.md"


def told(**changed: Any) -> dict[str, Any]:
    row = {
        "name": "no key",
        "what": "Hello",
        "attempts": 1_200,
        "refused": 1_200,
        "let_in": 0,
        "breaches": [],
        "whys": {"closed": 1_200},
        "secs": 1.0,
        "grown_mib": 1.5,
        "files_most": 40,
        "served": 99,
        "worst_secs": 0.1,
        "wrong": [],
    }
    run = {"when": "2026-11-22 07:00", "commit": "abc", "noise_secs": 120, "wall_secs": 300.0}
    return {**run, "machine": "2 cores", "rows": [{**row, **changed}]}


def test_the_table_is_that_of_the_last_run() -> None:
    kept = rows("attacks")[-1]
    text = SECURITY.read_text("utf-8")
    assert page.placed(text, kept) == text, "SECURITY.md differs from the last run: make attack"
    assert page.wrong(kept) == []
    assert all(row["attempts"] == row["refused"] > 0 for row in kept["rows"])


def test_the_last_run_did_every_row_at_length() -> None:
    kept = rows("attacks")[-1]
    assert [row["name"] for row in kept["rows"]] == [row.name for row in ROWS]
    assert kept["noise_secs"] >= 60
    assert kept["crowd"] >= 10_000


def test_who_was_let_in_stands_out() -> None:
    broken = told(let_in=1, breaches=["Hello with 'x'"], wrong=["n2 has ended"])
    assert page.wrong(broken) == ["no key: Hello with 'x'", "no key: n2 has ended"]
    assert "| 1 | n2 has ended |" in page.table(broken)[2]
    assert page.wrong(told()) == []


def test_the_table_has_one_place() -> None:
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    once = page.placed(text, told())
    assert page.placed(once, told()) == once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "| no key | Hello | 1,200 | 1,200 | 0 | healthy |" in once
    with pytest.raises(ValueError, match="no place"):
        page.placed("nothing", told())


def test_tries_add_up() -> None:
    tries = Tries()
    tries.judge(True, "closed", "never")
    tries.judge(False, "closed", "let in")
    tries.refuse("refused", 3)
    assert (tries.attempts, tries.refused, tries.breaches) == (5, 4, ["let in"])


def test_every_message_that_needs_a_role_is_tried() -> None:
    tried = {type(one) for one in requests(Role.ADMIN, Role.PRODUCER, Role.WORKER)}
    sorts = (Sort.INTERNAL, Sort.PUSH, Sort.SESSION)
    assert tried == {row.shape for row in MESSAGES.values() if row.sort not in sorts}
    for row in MESSAGES.values():
        assert row.check(list(request(row))), row.name
