"""The line of a round, what is added up of lines, and the page that is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.history import OK, UNKNOWN, Call, Final, History
from chaos.live.campaign import Round
from chaos.live.campaign_page import page
from chaos.live.campaign_record import counts, next_seed, row_of
from chaos.live.ground import Ground
from chaos.live.nemeses import Aim
from chaos.live.report import Told, render
from chaos.live.strikes import Strike
from chaos.live.timeline import Timeline
from chaos.live.verdict import Verdict

KILL, PAUSE = Aim("kill", "leader"), Aim("pause", "majority")


def submit(start: float, end: float, outcome: str = OK, queue: str = "probe") -> Call:
    return Call("submit", start, {"queue": queue, "id": "aa"}, end, outcome)


@pytest.fixture
def done() -> Round:
    """A crash, 110 ms without service and 60 ms when the node came back; and a pause of a majority
    of 2 s, with service 0.5 s after it."""
    made = Round(7, iter(()), Path("/nowhere"), Ground(), settings={"a.b": 1})
    made.started, made.wall_secs, made.judge_secs = 100.0, 60.0, 1.25
    silent = [(110.0, 110.1), (112.0, 112.05), (120.0, 122.5)]
    made.acks = [
        10 + place / 100
        for place in range(9_000, 13_000)
        if not any(since < 10 + place / 100 < until + 0.005 for since, until in silent)
    ]
    made.strikes = [
        Strike("kill", "leader", ("n1",), 110.0, 1.0, 111.9, 112.0, 113.0, 114.0, without=True),
        Strike("pause", "majority", ("n1", "n2"), 120.0, 1.0, 122.0, 122.0, 124.0, 125.0),
    ]
    made.strikes[1].silent = True
    made.struck = [KILL, PAUSE]
    made.late = [(110.5, 0.002), (112.5, 0.9)]
    made.load_averages = [1.26, 2.0]
    made.history = History(
        [
            submit(109.99, 110.2),
            submit(121.0, 121.5, UNKNOWN, "chaos-a"),
            Call("claim", 111.0, {"worker": "w"}, 111.1, OK, "", {"grants": [{}, {}]}),
            Call("complete", 111.0, {"token": 1, "id": "aa"}, 111.1, "refused", "STALE_TOKEN"),
        ]
    )
    made.history.final = Final({}, {}, {"ready": 1, "completed": 2}, {"submitted": 3})
    return made


def test_the_line_of_a_round(done: Round) -> None:
    row = row_of(done)
    assert (row["seed"], row["form"], row["nodes"]) == (7, "processes", 3)
    assert row["struck"] == ["kill@leader", "pause@majority"]
    assert row["calls"]["complete"] == {"STALE_TOKEN": 1}
    assert row["calls"]["submit"] == {"ok": 1, "unknown": 1}
    assert row["settings"]["a.b"] == 1
    assert (row["lost"], row["doubled"], row["rules"]) == (0, 0, {})
    crash, pause = row["strikes"]
    assert crash["gap"] == pytest.approx(0.11), "the return of the node is not the fault's gap"
    assert crash["return"] == pytest.approx(0.06)
    assert (crash["at"], crash["lasted"], crash["whole"]) == (10.0, 2.0, 4.0)
    assert crash["late"] == 0.002, "in the time of its gap only"
    assert pause["gap"] == pytest.approx(2.51)
    assert pause["back"] == pytest.approx(0.51, abs=0.011)
    json.dumps(row, allow_nan=False)


def test_a_gap_that_nobody_knows_the_end_of_is_told_as_such(done: Round) -> None:
    done.acks = done.acks[:100]
    row = row_of(done)
    assert row["strikes"][0]["gap"] is None
    assert page(json.dumps(row))
    assert render([Told(row, Timeline.of(done))])


def test_what_met_nobody_does_not_count(done: Round) -> None:
    strike = done.strikes.pop()
    strike.missed = "no node met its bad disk"
    done.missed = [strike]
    row = row_of(done)
    assert row["missed"] == ["pause@majority: no node met its bad disk"]
    assert counts([row], "processes", 3) == {KILL: 1}
    assert not [line for line in page(json.dumps(row)) if line.startswith("| pause |")]


def test_a_strike_from_which_the_cluster_never_came_back_stands_with_what_it_broke(
    done: Round,
) -> None:
    done.strikes[1] = Strike("pause", "majority", ("n1", "n2"), 120.0, 1.0)
    done.verdict = Verdict(["comes_back: NotWhole", "acknowledged_submits: gone"])
    row = row_of(done)
    last = row["strikes"][1]
    assert [last[name] for name in ("lasted", "gap", "return", "back", "whole")] == [None] * 5
    (told,) = lines_of([row], "pause |")
    assert (told[3:5], told[11]) == (["1", "1"], "1")
    assert "pause @ majority" in render([Told(row, Timeline.of(done))])


def test_violations_are_counted_by_rule(done: Round) -> None:
    done.verdict = Verdict(
        ["acknowledged_submits: a", "acknowledged_submits: b", "one_completion: c", "sums: d"], 5
    )
    row = row_of(done)
    assert (row["lost"], row["doubled"], row["undecided"]) == (2, 1, 5)
    assert row["rules"] == {"acknowledged_submits": 2, "one_completion": 1, "sums": 1}


def test_strikes_of_rounds_add_up_by_form(done: Round) -> None:
    row = row_of(done)
    broken = {**row, "rules": {"sums": 1}}
    rows = [row, row, {**row, "form": "containers"}, {**row, "nodes": 5}, broken]
    assert counts(rows, "processes", 3) == {KILL: 2, PAUSE: 2}
    assert counts(rows, "containers", 3) == {KILL: 1, PAUSE: 1}


def test_the_next_campaign_goes_on_with_the_next_seed(done: Round) -> None:
    row = row_of(done)
    assert next_seed([], "processes") == 1
    assert next_seed([row, {**row, "seed": 3}], "processes") == 8
    assert next_seed([row], "containers") == 1


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def lines_of(rows: list[dict[str, Any]], start: str) -> list[list[str]]:
    made = page("\n".join(json.dumps(row, sort_keys=True) for row in rows))
    return [cells(line) for line in made if line.startswith(f"| {start}")]


def test_the_page_adds_up_the_strikes_of_a_fault(done: Round) -> None:
    row = {**row_of(done), "commit": "abc1234"}
    broken = {"lost": 2, "rules": {"acknowledged_submits": 2}, "first_violations": ["gone"]}
    later = {**row, **broken, "commit": "def5678"}
    (told,) = lines_of([row, later], "kill |")
    assert told[:7] == ["kill", "leader", "processes, 3", "2", "2", "0", "2"]
    assert told[7:9] == ["110 / 110 / 110", "p50 150, p99 500"]
    assert told[10:12] == ["4.0 / 4.0 / 4.0", "0"]
    assert told[12] == "abc1234 .. def5678 (2)"


def test_the_page_keeps_the_silent_apart_and_the_forms(done: Round) -> None:
    row = row_of(done)
    made = page("\n".join(json.dumps(one) for one in (row, {**row, "form": "containers"})))
    titles = [line for line in made if line.startswith("### ")]
    assert [title[4:10] for title in titles] == ["Silent", "Crashe"]
    assert len([line for line in made if line.startswith("| pause |")]) == 2


def test_the_page_sets_what_others_lost_beside_power_cuts_and_flipped_bits(done: Round) -> None:
    row = row_of(done)
    for fault, words in (("power cut", "131,418 of 930,005"), ("flipped bits", "one flipped bit")):
        row["strikes"][0]["fault"] = fault
        (told,) = lines_of([row], fault)
        assert words in told[-1]


def test_a_broken_round_is_on_the_page_with_its_seed_and_its_words(done: Round) -> None:
    done.verdict = Verdict(["sums: 1 is | not 2"])
    (told,) = lines_of([row_of(done)], "20")
    assert told[3:] == ["7", "kill@leader, pause@majority", "sums 1", "sums: 1 is / not 2"]


def test_no_campaign_no_page() -> None:
    assert page("") == []


def test_the_timeline_counts_by_second(done: Round) -> None:
    found = Timeline.of(done)
    assert found.rates["submit"][10] == 1
    assert found.rates["claim"][11] == 2, "as tasks"
    assert found.rates["complete"] == [0] * 12, "a refused one is none"
    ((at, half, most),) = found.latency
    assert (at, half, most) == (9, pytest.approx(0.21), pytest.approx(0.21))


def test_the_report_shows_strikes_numbers_and_how_to_repeat_it(done: Round) -> None:
    row = row_of(done)
    told = render([Told(row, Timeline.of(done))])
    assert "2 strikes on 3 nodes as processes" in told
    assert told.count("<circle") == 2
    assert "kill @ leader" in told
    assert "--strikes &#x27;kill@leader; pause@majority&#x27;" in told
    assert "Broken promises" not in told
    for outside in ("http://", "https://", "<script", "@import", "url("):
        assert outside not in told, "it stands alone"


def test_the_report_shows_what_was_broken(done: Round) -> None:
    done.verdict = Verdict(["sums: 1 < 2"])
    told = render([Told(row_of(done), Timeline.of(done))])
    assert "sums: 1 &lt; 2" in told
    assert "Broken promises" in told
