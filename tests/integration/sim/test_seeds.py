"""Seeds of the whole simulation: kept promises, the same run twice, and what a run consists of."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chaos.sim.plan import LAST_SECS, WEIGHTS, draw
from chaos.sim.run import MUST_HAPPEN
from chaos.sim.seed import Outcome, run_seed
from chaos.sim.world import World

SEEDS = range(10)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [run_seed(seed) for seed in SEEDS]


def test_every_promise_is_kept(outcomes: list[Outcome]) -> None:
    broken = {one.seed: one.broken for one in outcomes if one.broken}
    assert broken == {}, f"python -m chaos.sim --replay {min(broken)} --trace"


def test_a_seed_is_a_minute_of_calls_and_faults(outcomes: list[Outcome]) -> None:
    for one in outcomes:
        assert one.virtual_secs >= 60
        assert one.counts["calls"] >= 300
        assert len(one.faults) >= 10


def test_everything_happens_sooner_or_later(outcomes: list[Outcome]) -> None:
    never = [name for name in MUST_HAPPEN if not any(one.counts[name] for one in outcomes)]
    assert never == []


def test_a_seed_is_the_same_in_every_process() -> None:
    script = "from chaos.sim.seed import run_seed; print(run_seed(7).fingerprint)"
    prints = set()
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", script]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        prints.add(done.stdout.strip())
    assert prints == {run_seed(7).fingerprint}


def test_faults_are_drawn_from_all_kinds() -> None:
    drawn = [fault for seed in range(100) for fault in draw(World(seed).generator("faults"))]
    assert {fault.kind for fault in drawn} == set(WEIGHTS)
    assert max(fault.at for fault in drawn) <= LAST_SECS
