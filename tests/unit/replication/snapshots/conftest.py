"""Worlds, closed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.unit.replication.snapshots.rig import World


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Makes worlds; the first node leads and has a state of some chunks, the others have none."""
    worlds: list[World] = []

    def make(*names: str) -> World:
        world = World(*(names or ("n1", "n2")))
        world.nodes["n1"].fill(index=40, count=1600)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A leader and one follower that has nothing."""
    return make_world()
