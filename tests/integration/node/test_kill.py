"""A node killed with SIGKILL, again and again, with requests under way: nothing is lost."""

from __future__ import annotations

import faulthandler
from collections import Counter
from pathlib import Path

import pytest

from chaos.checkers import violations
from chaos.history import Call, Final, History, Kill
from chaos.live.kill import Run, run_kills

KILLS = 20  # `python -m chaos.live.kill` does more; its results are kept


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_every_acknowledged_request_outlives_many_kills(tmp_path: Path) -> None:
    # Longer than the time after which every stack is printed; `timeout` still does it.
    faulthandler.cancel_dump_traceback_later()
    run = Run(KILLS, seed=20261121, home=tmp_path)
    await run_kills(run)
    assert run.violations == []
    served = [kill for kill in run.history.kills if kill.served]
    assert len(served) == KILLS
    assert min(kill.writes_in_flight for kill in served) >= 1
    # The load did what it is there for, through the kills.
    done = Counter((call.kind, call.outcome) for call in run.history.calls)
    assert done["submit", "ok"] > 20 * KILLS
    assert done["complete", "ok"] > 10 * KILLS
    assert done["complete", "refused"] > 0, "no stale token was ever tried"
    for kind in ("fail", "release", "extend", "heartbeat", "cancel", "status"):
        assert done[kind, "ok"] > 0, f"no {kind} was ever accepted"
    assert sum(call.outcome == "unknown" for call in run.history.calls) > 0
    assert run.history.final is not None
    assert run.history.final.states["completed"] > 10 * KILLS


async def test_a_node_that_acknowledges_before_its_disk_has_it_is_found_out(tmp_path: Path) -> None:
    """The experiment can fail: durability `interval` is such a node, by its own words."""
    settings = {"persistence.durability": "interval", "persistence.wal_sync_interval_ms": 10_000}
    run = Run(4, seed=1, home=tmp_path, settings=settings)
    await run_kills(run)
    broken = {line.partition(":")[0] for line in run.violations}
    assert {"acknowledged_submits", "outcomes_stay"} <= broken


def test_a_history_that_is_kept_is_judged_alike(tmp_path: Path) -> None:
    args = {"id": "aa" * 16, "queue": "q", "priority": 1, "size": 0, "crc": 0, "delay_secs": 0.0}
    final = Final({}, {"aa" * 16: "NOT_FOUND"}, {}, {"submitted": 0, "removed": 0, "completed": 0})
    kills = [Kill(1.0, "log write", {"submit": 2}, True)]
    history = History([Call("submit", 0.0, args, 0.1, "ok")], kills, final)
    history.save(tmp_path / "history.gz")
    loaded = History.load(tmp_path / "history.gz")
    assert loaded == history
    assert violations(loaded) == violations(history)
    found = [line.partition(":")[0] for line in violations(loaded)]
    assert found == ["acknowledged_submits", "linearizable"]
