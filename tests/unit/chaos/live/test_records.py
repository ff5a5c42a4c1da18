"""What is made of runs: which calls failed, the lines that are kept, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.history import OK, REFUSED, UNKNOWN, Call, Final, History, Kill
from chaos.live.cluster_page import page
from chaos.live.failover import Run
from chaos.live.failover_record import summary
from chaos.live.strikes import Strike
from chaos.live.unserved import without_service


def submit(queue: str, outcome: str, code: str = "") -> Call:
    return Call("submit", 1.0, {"queue": queue, "id": "aa"}, 1.1, outcome, code)


CALLS = [
    submit("probe", OK),
    submit("probe", UNKNOWN),
    submit("probe", REFUSED, "NO_LEADER"),
    submit("chaos-a", UNKNOWN),
    submit("chaos-a", REFUSED, "UNAVAILABLE"),
    submit("chaos-a", REFUSED, "NOT_SENT"),
    Call("complete", 1.0, {"token": 1, "id": "aa"}, 1.1, REFUSED, "STALE_TOKEN"),
    Call("claim", 1.0, {"worker": "w"}, 1.1, UNKNOWN),
]


def test_where_nothing_breaks_every_call_has_to_find_service() -> None:
    history = History(CALLS)
    assert without_service(history, planned=True) == [*CALLS[1:6], CALLS[7]]


def test_elsewhere_the_load_may_give_up_early_and_the_probe_may_not() -> None:
    history = History(CALLS)
    assert without_service(history, planned=False) == CALLS[1:3]


@pytest.fixture
def run() -> Run:
    """Two crashes: 110 ms and 30 ms without service, between probes every 10 ms."""
    made = Run(["leader-crash", "leader-crash"], 7, Path("/nowhere"))
    silent = [(10.0, 10.1), (20.0, 20.02)]
    made.acks = [
        place / 100
        for place in range(800, 2300)
        if not any(since < place / 100 < until + 0.005 for since, until in silent)
    ]
    made.strikes = [
        Strike("kill", "leader", ("n1",), 10.0, 1010.0, over=11.2, whole=12.0),
        Strike("kill", "leader", ("n2",), 20.0, 1020.0, over=21.2, whole=23.0),
    ]
    made.elected = [1000.0, 1010.04, 1020.01]
    made.late = [(9.0, 0.5), (10.5, 0.002), (20.5, 0.004)]
    made.load_averages = [1.25, 2.0]
    made.history = History([submit("probe", OK)], [Kill(10.0, "leader-crash", {"submit": 3}, True)])
    made.history.final = Final({}, {}, {"ready": 1}, {"submitted": 1})
    made.failed = CALLS[1:2]
    made.violations = ["sums: 1 is not 2"]
    return made


def test_the_line_of_a_run(run: Run) -> None:
    row = summary(run)
    assert row["gaps"] == [pytest.approx(0.11), pytest.approx(0.03)]
    assert row["gap"] == {"p50": 0.07, "p99": 0.11, "max": 0.11}
    assert row["calm"]["max"] == pytest.approx(0.01)
    assert row["elected"] == {"p50": 0.025, "p99": 0.04, "max": 0.04}
    assert row["found"]["max"] == pytest.approx(0.07), "from 10.04 to the first probe at 10.11"
    assert row["late"]["max"] == 0.004, "in the times of the gaps only"
    assert row["whole"] == {"p50": 2.5, "p99": 3.0, "max": 3.0}
    assert (row["failed"], row["violations"], row["in_flight"]) == (1, 1, [3])


def test_a_run_without_elections(run: Run) -> None:
    run.elected = [1000.0]
    assert (summary(run)["elected"], summary(run)["found"]) == ({}, {})


def cells(found: dict[str, Any]) -> list[str]:
    """The first row of the page for these results."""
    lines = page({name: json.dumps(row, sort_keys=True) for name, row in found.items()})
    heads = [place for place, line in enumerate(lines) if line.startswith("|---")]
    assert heads
    rows = [line for line in lines if line.startswith("| 20")]
    assert len(rows) == 1
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def test_the_page_tells_gap_goal_and_broken_promises(run: Run) -> None:
    row = {**summary(run), "commit": "abc1234"}
    told = cells({"failover": row})
    assert told[1:4] == ["abc1234", "leader-crash", "2"]
    assert cells({"failover": {**row, "scattered": True}})[2] == "leader-crash, scattered"
    assert told[4:6] == ["70 / 110 / 110", "p50 150 p99 500"]
    assert told[-5:-1] == ["0", "1", "1", "1.2-2.0"], "unknown, failed, broken promises, load"


def test_the_page_tells_how_often_an_entry_was_sent() -> None:
    row = {
        "when": "2026-11-21 22:02",
        "commit": "abc1234",
        "machine": "m",
        "secs": 300.0,
        "cycles_per_sec": 12_000,
        "entries": 1_000,
        "sent_each": 1.5,
        "elections": 2,
        "truncated": 3,
        "most_bytes": 2**20,
        "violations": 4,
        "load_average": [2.0, 1.0, 1.0],
    }
    told = cells({"steady": row})
    assert told[2:] == ["5.0", "12,000", "1,000", "1.5 times", "2", "3", "1", "4", "2.0", "m"]


def test_the_page_tells_what_bringing_up_a_follower_cost() -> None:
    idle = {"leader": 100 * 2**20, "follower": 101 * 2**20, "away": 40 * 2**20}
    most = {"leader": 110 * 2**20, "follower": 102 * 2**20, "away": 60 * 2**20}
    row = {
        "when": "2026-11-21 22:02",
        "commit": "abc1234",
        "machine": "m",
        "tasks": 1_000_000,
        "snapshots": 1,
        "secs": 26.16,
        "gap": 0.05,
        "calm": 0.02,
        "late": 0.001,
        "idle": idle,
        "most": most,
        "violations": 0,
        "load_average": [2.0, 1.0, 1.0],
    }
    told = cells({"catch_up": row})
    assert told[2:11] == [
        "1,000,000",
        "1",
        "26.2",
        "50",
        "20",
        "1",
        "100 - 110",
        "101 - 102",
        "40 - 60",
    ]
