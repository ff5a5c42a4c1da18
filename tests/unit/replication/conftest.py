"""The rig, closed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.replication.group_rig import Group
from tests.unit.replication.rig import Rig


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    """Makes rigs; see `Rig`."""
    rigs: list[Rig] = []

    def make(*args: Any, **kwargs: Any) -> Rig:
        rigs.append(Rig(*args, **kwargs))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A node that leads."""
    made = make_rig()
    made.lead()
    return made


@pytest.fixture
def make_group() -> Iterator[Callable[..., Group]]:
    """Makes groups; see `Group`."""
    groups: list[Group] = []

    def make(*args: Any, **kwargs: Any) -> Group:
        groups.append(Group(*args, **kwargs))
        return groups[-1]

    yield make
    for group in groups:
        group.check()
        group.close()


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    """Three nodes; nobody leads yet."""
    return make_group()
