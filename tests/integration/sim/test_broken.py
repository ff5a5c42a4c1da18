"""Every build that is broken on purpose is caught; the unbroken one keeps its promises under the
very same faults."""

from __future__ import annotations

import pytest

from chaos.sim.broken import BUILDS, first_caught

# The most that any of them takes is a quarter of it.
SEEDS_MAX = 40


@pytest.mark.parametrize("name", BUILDS)
def test_a_broken_build_is_caught(name: str) -> None:
    caught = first_caught(name, range(SEEDS_MAX))
    assert caught is not None, f"{name}: {SEEDS_MAX} seeds, and nobody noticed"


@pytest.mark.parametrize("name", BUILDS)
def test_the_unbroken_build_passes_under_the_same_faults(name: str) -> None:
    for seed in range(2):
        outcome = BUILDS[name].run(seed)
        assert outcome.broken == "", f"seed {seed} under the faults of {name!r}"
