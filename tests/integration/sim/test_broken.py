"""Every build that is broken on purpose is caught; the unbroken one keeps its promises under the
very same faults."""

from __future__ import annotations

import pytest

from chaos.sim import broken_members  # noqa: F401  # its builds are among all
from chaos.sim.broken import BUILDS, first_caught

# The weakest is caught by about every second seed (chaos/sim/README.md).
SEEDS_MAX = 16


@pytest.mark.parametrize("name", BUILDS)
def test_a_broken_build_is_caught(name: str) -> None:
    caught = first_caught(name, range(SEEDS_MAX))
    assert caught is not None, f"{name}: {SEEDS_MAX} seeds, and nobody noticed"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if one.rule == "A10" else ())
        for name, one in BUILDS.items()
    ],
)
def test_the_unbroken_build_passes_under_the_same_faults(name: str) -> None:
    outcome = BUILDS[name].run(0)
    assert outcome.broken == "", f"seed 0 under the faults of {name!r}"
