"""Hundreds of random damages: all that was acknowledged, or a refusal; never less, never other.

A failure prints its seed; the seed alone rebuilds the damage.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from cluster.storage.errors import DataDamaged
from cluster.storage.log_store import LogStore, Opened
from cluster.storage.state_store import StateStore
from tests.integration.storage import damage
from tests.integration.storage.test_state_damage import assert_exact

SEEDS = 300
LAST = 150


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three shapes: all in the write-ahead file, half in tables, records across blocks."""
    roots = [tmp_path_factory.mktemp(name) / "data" for name in ("fresh", "settled", "large")]
    damage.build_log(roots[0], LAST)
    damage.build_log(roots[1], LAST // 2)
    log = LogStore.open(roots[1] / "log", roots[1] / "witness")
    damage.write_entries(log, LAST // 2 + 1, LAST)
    log.close()
    damage.build_log(roots[2], 12, size=50_000)
    return roots


def harm(dice: random.Random, directory: Path) -> str:
    """Damage one file of `directory`; what was done."""
    files = sorted(
        path for path in directory.iterdir() if path.name not in damage.UNTOUCHED_BY_RULE
    )
    path = dice.choice(files)
    data = bytearray(path.read_bytes())
    at = dice.randrange(len(data)) if data else 0
    kind = dice.choice(("flip", "flips", "cut", "zero", "noise", "append", "swap", "remove"))
    if kind == "flip" and data:
        data[at] ^= 1 << dice.randrange(8)
    elif kind == "flips" and data:
        for _ in range(dice.randrange(2, 20)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "zero":
        size = dice.choice((1, 16, 512, 4096, len(data)))
        data[at : at + size] = bytes(len(data[at : at + size]))
    elif kind == "noise":
        size = dice.choice((1, 16, 512, 4096))
        data[at : at + size] = dice.randbytes(len(data[at : at + size]))
    elif kind == "append":
        data += dice.choice((bytes(4096), dice.randbytes(700), bytes(data[-500:])))
    elif kind == "swap" and data:  # a sector that was written elsewhere
        other = dice.randrange(len(data))
        data[at : at + 512] = data[other : other + 512]
    elif kind == "remove":
        path.unlink()
        return f"remove {path.name}"
    path.write_bytes(data)
    return f"{kind} {path.name} at {at}"


@pytest.mark.parametrize("part", range(6))
def test_a_damaged_log_is_complete_or_refused(logs: list[Path], tmp_path: Path, part: int) -> None:
    outcomes = set()
    for seed in range(part, SEEDS, 6):
        dice = random.Random(seed)
        shape = dice.randrange(3)
        root = damage.clone(logs[shape], tmp_path / "data")
        done = [harm(dice, root / "log") for _ in range(dice.choice((1, 1, 1, 2)))]
        before = damage.content(root)
        try:
            log = LogStore.open(root / "log", root / "witness")
        except DataDamaged:
            outcomes.add("refused")
            assert damage.content(root) == before, (seed, done)
        else:
            outcomes.add(log.opened.value)
            size, last = (50_000, 12) if shape == 2 else (300, LAST)
            assert log.opened is not Opened.UNCERTAIN, (seed, done)
            try:
                damage.assert_holds(log, last, size)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {done}") from error
            log.close()
        shutil.rmtree(root)
    assert "refused" in outcomes
    assert len(outcomes) > 1  # not everything is refused, either


@pytest.mark.parametrize("part", range(3))
def test_a_damaged_state_is_exact_or_refused(tmp_path: Path, part: int) -> None:
    pristine = tmp_path / "pristine"
    damage.build_state(pristine, 60)
    outcomes = set()
    for seed in range(part, SEEDS // 3, 3):
        dice = random.Random(seed)
        root = damage.clone(pristine, tmp_path / "data")
        done = harm(dice, root / "state")
        before = damage.content(root)
        try:
            state = StateStore.open(root / "state", create=False)
        except DataDamaged:
            outcomes.add("refused")
            assert damage.content(root) == before, (seed, done)
        else:
            outcomes.add("older" if state.index < 60 else "complete")
            try:
                if state.index == 0:
                    assert list(state.iterate()) == []
                else:
                    assert_exact(state, state.index)
            except (AssertionError, DataDamaged) as error:
                raise AssertionError(f"seed {seed}: {done}") from error
            state.close()
        shutil.rmtree(root)
    assert "refused" in outcomes
    assert len(outcomes) > 1
