"""Folders that real nodes filled, made once for each module that asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.node.filled import Filled, fill

# So small that the log is cut behind the state while the folder is filled.
COMPACTED = {"persistence.checkpoint_log_bytes": 65_536}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Its log reaches back to the first entry."""
    return asyncio.run(fill(tmp_path_factory.mktemp("filled")))


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Its log begins behind the first entry: the state cannot be built again from it."""
    return asyncio.run(fill(tmp_path_factory.mktemp("compacted"), COMPACTED))


@pytest.fixture
def filled(pristine: Filled, tmp_path: Path) -> Filled:
    """A copy of `pristine`, to be damaged."""
    return pristine.clone(tmp_path)
