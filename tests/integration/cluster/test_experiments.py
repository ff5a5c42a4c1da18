"""The longer experiments in small: full load, and a follower that comes back by a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.live import catch_up, steady

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100)]

# So small that the log is cut before what the follower has.
CUT = {"persistence.checkpoint_log_bytes": 65_536}
# Full load on a machine that does ten other things: nobody is to be taken for silent.
PATIENT = {"raft.election_timeout_ms": 10_000}


async def test_a_healthy_cluster_sends_each_entry_once_and_keeps_its_leader(tmp_path: Path) -> None:
    run = steady.Run(2.0, tmp_path, dict(PATIENT))
    await steady.run_steady(run)
    assert run.violations == []
    assert run.entries > 20
    assert run.cycles > 1_000


async def test_a_follower_that_was_away_for_long_comes_back_by_a_snapshot(tmp_path: Path) -> None:
    run = catch_up.Run(20_000, tmp_path, CUT | PATIENT, quiet_secs=1.2)
    await catch_up.run_catch_up(run)
    assert run.violations == []
    assert run.snapshots == 1
    assert run.most["away"] > 0
