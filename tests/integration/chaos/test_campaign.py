"""A campaign as anybody runs it: its lines, its report, its end by Ctrl-C, what it finds out."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.live.campaign import Round, carry_out
from chaos.live.campaign_record import row_of
from chaos.live.ground import Ground
from chaos.live.nemeses import Aim

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

COMMAND = [sys.executable, "-m", "chaos.live", "--no-keep", "--json"]


@pytest.fixture(autouse=True)
def _patient() -> None:
    # Longer than the time after which every stack is printed; `timeout` still does it.
    faulthandler.cancel_dump_traceback_later()


def test_what_was_told_strikes_and_is_accounted_for(tmp_path: Path) -> None:
    told = ["kill@leader", "pause + kill (others)@follower", "transfer@leader"]
    command = [*COMMAND, "--seed", "5", "--strikes", "; ".join(told), "--reports", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = (json.loads(line) for line in done.stdout.splitlines())
    assert row["struck"] == told
    assert [f"{one['fault']}@{one['target']}" for one in row["strikes"]] == told
    assert [len(one["nodes"]) for one in row["strikes"]] == [1, 1, 1]
    assert (row["rules"], row["lost"], row["doubled"], row["undecided"]) == ({}, 0, 0, 0)
    assert row["calls"]["submit"]["ok"] > 500
    assert row["given"] == row["tasks"]["ready"] > 100
    assert row["strikes"][0]["without"], "two of three go on"
    assert not row["strikes"][1]["without"], "one of three does not"
    (report,) = tmp_path.glob("*.html")
    assert report.read_text().count("<circle") == len(told)


def test_ctrl_c_ends_after_the_strike_and_the_round_is_judged(tmp_path: Path) -> None:
    command = [*COMMAND, "--minutes", "10", "--nemesis", "kill", "--target", "follower"]
    with subprocess.Popen(
        [*command, "--reports", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        assert "kill@follower" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        out, told = running.communicate()
    assert running.returncode == 0, told
    (row,) = (json.loads(line) for line in out.splitlines())
    assert 1 <= len(row["strikes"]) <= 2
    assert row["tasks"], "read out"
    assert row["rules"] == {}
    assert len(list(tmp_path.glob("*.html"))) == 1


def test_a_cluster_that_acknowledges_before_its_disks_have_it_is_found_out(tmp_path: Path) -> None:
    """The campaign can fail: durability `interval` is such a cluster, by its own words."""
    settings = {"persistence.durability": "interval", "persistence.wal_sync_interval_ms": 10_000}
    plan = iter([Aim("kill", "all"), Aim("kill", "all")])
    round_ = Round(4, plan, tmp_path, Ground(), settings=settings)
    asyncio.run(carry_out(round_))
    row = row_of(round_)
    assert row["lost"] > 0, row["first_violations"]
