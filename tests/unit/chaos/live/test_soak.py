"""What a soak is judged by: the account of every task, and the rule for what stays bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.live.bounded import GAUGES, MIB, unbounded, use_of
from chaos.live.nemeses import Aim
from chaos.live.soak import Soak
from chaos.live.soak_load import Account
from chaos.live.soak_page import page
from chaos.live.soak_record import row_of
from chaos.live.soak_report import render
from chaos.live.strikes import Strike

ENDED = {"ready": 0, "leased": 0, "scheduled": 0, "retrying": 0, "dead": 0, "completed": 1}


def account(count: int = 3) -> Account:
    """Of tasks that were acknowledged and completed, each once."""
    made = Account()
    for _ in range(count):
        number = made.new()
        made.acknowledged[number] = made.completions[number] = 1
    return made


def totals(submitted: int, completed: int) -> dict[str, int]:
    return {"submitted": submitted, "completed": completed, "removed": submitted - 1}


def test_an_account_in_which_everything_fits() -> None:
    made = account()
    made.foreign = 2
    assert made.broken(totals(5, 5), ENDED, probes=2) == []


def test_an_unknown_outcome_may_be_either() -> None:
    made = account()
    made.completions[0], made.maybe[0] = 0, 1
    made.acknowledged[1], made.unknown = 0, 1
    for submitted in (2, 3):
        for completed in (2, 3):
            assert made.broken(totals(submitted, completed), ENDED, probes=0) == []


def test_an_acknowledged_task_that_nobody_did_is_lost() -> None:
    made = account()
    made.completions[0] = 0
    told = made.broken(totals(3, 2), ENDED, probes=0)
    assert told == ["lost: 1 acknowledged tasks were never completed, and are not there"]
    dead = {**ENDED, "dead": 1, "completed": 0}
    assert made.broken(totals(3, 2), dead, probes=0) == []


@pytest.mark.parametrize("state", ["ready", "leased", "scheduled", "retrying"])
def test_what_waits_when_a_run_is_given_up_is_not_lost(state: str) -> None:
    made = account()
    made.completions[0] = made.completions[1] = 0
    assert made.lost({**ENDED, state: 1}) == 1
    assert made.lost({**ENDED, state: 2}) == 0


def test_where_nobody_could_be_asked_it_is_unknown_what_was_lost(soak: Soak) -> None:
    row = row_of(soak)
    assert row["lost"] is None
    assert "unknown" in page(json.dumps(row))[-1]
    assert row_of(replace(soak, states=ENDED))["lost"] == 0
    render(soak, row)


def test_a_task_that_was_done_under_two_tokens_is_doubled() -> None:
    made = account()
    made.completions[0] = 2
    assert made.broken(totals(3, 3), ENDED, probes=0) == [
        "doubled: 1 tasks were completed under two tokens"
    ]


@pytest.mark.parametrize(
    ("submitted", "completed", "rule"),
    [(2, 3, "submitted"), (4, 3, "submitted"), (3, 2, "completed"), (3, 4, "completed")],
)
def test_counts_that_do_not_fit_are_told(submitted: int, completed: int, rule: str) -> None:
    (told,) = account().broken(totals(submitted, completed), ENDED, probes=0)
    assert told.startswith(f"{rule}: ")


def test_sums_that_do_not_fit_are_told() -> None:
    (told,) = account().broken({**totals(3, 3), "removed": 1}, ENDED, probes=0)
    assert told.startswith("sums: ")


def test_what_goes_up_and_down_is_bounded() -> None:
    values = [100 * MIB + place % 7 * 10 * MIB for place in range(90)]
    assert unbounded("disk", "n1", use_of(values), 1_800.0) == []


def test_what_grows_all_the_time_is_not() -> None:
    for name, gauge in GAUGES.items():
        step = 6 * gauge.slack // 60
        values = [place * step for place in range(60)]
        told = unbounded(name, "n2", use_of(values), 1_800.0)
        assert any(f"{name} of n2 grows" in line for line in told)
        warming = unbounded(name, "n2", use_of(values), 120.0)
        assert not any("grows" in line for line in warming)


def test_what_was_too_much_for_a_moment_is_told() -> None:
    values = [10] * 5 + [GAUGES["files"].ceiling + 1] + [10] * 30
    told = unbounded("files", "n1", use_of(values), 120.0)
    assert told == ["files of n1: 1,001, more than 1,000"]


@pytest.fixture
def soak() -> Soak:
    made = Soak(60.0, 2_000.0, 7, iter(()), Path("/nowhere"), peak=8_000.0)
    made.account = account(600)
    made.started, made.load_secs = 100.0, 60.0
    made.acks = [place / 100 for place in range(9_000, 17_000) if not 12_001 < place < 12_030]
    made.strikes = [
        Strike("kill", "leader", ("n1",), 120.0, 1.0, 121.0, 121.0, 122.0, 123.0, without=True)
    ]
    made.struck = [Aim("kill", "leader")]
    made.sampled = [0.0, 5.0, 10.0]
    made.done = [(0.0, 0, 0), (5.0, 300, 290), (10.0, 600, 600)]
    made.samples = {"memory": {"n1": [50 * MIB, 60 * MIB, 70 * MIB], "n2": [1, 2, 3]}}
    made.latencies = [(100.5, 0.002), (101.0, 0.5)]
    return made


def test_the_line_the_page_and_the_report_of_a_soak(soak: Soak) -> None:
    row = row_of(soak)
    assert row["rate"] == {"peak": 8000, "wanted": 2000, "done": 10}
    assert row["uses"]["memory"]["n1"] == [70 * MIB, 60 * MIB, 70 * MIB]
    assert row["strikes"] == {"kill@leader": 1}
    (line,) = [line for line in page(json.dumps(row)) if line.startswith("| 20")]
    told = [cell.strip() for cell in line.strip("|").split("|")]
    assert told[3:8] == ["2,000, 10", "25% of 8,000", "1", "290 / 290 / 290", "600"]
    assert "60 - 70" in told
    shown = render(soak, row)
    assert shown.count("<polyline") == 2 + 2 + 2
    assert "Memory (RssAnon)" in shown


def test_a_run_too_short_to_be_cut_in_three_is_judged_by_the_account_only(soak: Soak) -> None:
    soak.sampled = soak.sampled[:2]
    assert soak.uses == {}
