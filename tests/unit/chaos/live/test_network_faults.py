"""Which ways are cut."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.live.network_faults import outside_ring


def scene(count: int, seed: int) -> Any:
    nodes = {f"n{number}": None for number in range(1, count + 1)}
    return SimpleNamespace(cluster=SimpleNamespace(nodes=nodes), chance=random.Random(seed))


def reached(count: int, seed: int, first: str) -> dict[str, set[str]]:
    """Whom each can still talk to, in both directions."""
    cut = set(outside_ring(scene(count, seed), (first,)))
    assert cut == {(other, one) for one, other in cut}, "always both directions"
    names = {f"n{number}" for number in range(1, count + 1)}
    return {name: {one for one in names - {name} if (name, one) not in cut} for name in names}


@pytest.mark.parametrize("count", [5, 7])
@pytest.mark.parametrize("seed", range(10))
def test_in_a_ring_each_has_two_neighbours_and_all_are_connected(count: int, seed: int) -> None:
    found = reached(count, seed, "n2")
    assert {len(others) for others in found.values()} == {2}
    seen = {"n1"}
    for _ in range(count):
        seen |= {one for name in seen for one in found[name]}
    assert len(seen) == count


@pytest.mark.parametrize("seed", range(10))
def test_three_are_a_chain_with_the_named_one_at_its_end(seed: int) -> None:
    found = reached(3, seed, "n2")
    assert len(found["n2"]) == 1
    assert sorted(len(others) for others in found.values()) == [1, 1, 2]
