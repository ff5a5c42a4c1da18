"""The history of a real run (a node killed six times under load) is good, and no lie in it passes.

`killed_node.jsonl.gz` was written by `chaos.live.kill` with seed 11.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chaos.checkers import Evidence, violations
from chaos.checkers.linear import linearizability
from chaos.history import History
from tests.unit.chaos.sabotage import LIES, Lie

FILE = Path(__file__).with_name("killed_node.jsonl.gz")
PLACES = 40  # tries until a history has a place for the lie


def test_the_history_of_a_real_run_is_good() -> None:
    history = History.load(FILE)
    assert violations(history) == []
    found = linearizability(Evidence(history))
    assert found.tasks > 600
    assert found.undecided == []
    assert found.steps < 2 * len(history.calls)  # hardly any step is taken back


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_in_a_real_history_is_found_out(lie: Lie) -> None:
    chance = random.Random(lie.__name__)
    history = History.load(FILE)
    assert any(lie(history, chance) for _ in range(PLACES)), "no place for it"
    broken = {line.partition(":")[0] for line in violations(history)}
    assert broken.intersection(LIES[lie]), broken
