"""The fixtures for pytest, and that nothing of a node is needed for them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import taskq.testing
from taskq.testing import Broker

pytest_plugins = ["pytester"]

ROOT = Path(taskq.testing.__file__).parent

SUITE = """
async def test_first(taskq_broker):
    async with taskq_broker.async_client() as client:
        await client.submit("q")
        assert (await client.stats()).totals["submitted"] == 1

async def test_each_test_has_a_broker_of_its_own(taskq_broker):
    async with taskq_broker.async_client() as client:
        assert (await client.stats()).totals["submitted"] == 0
"""


def test_it_is_public() -> None:
    assert taskq.testing.__all__ == ["Broker"]
    for name in ("client", "async_client", "advance", "now", "url", "disconnect", "close"):
        assert getattr(Broker, name).__doc__


def test_nothing_of_a_node_is_imported() -> None:
    for path in ROOT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [name for name in names if name.partition(".")[0] == "cluster"], path


def test_a_broker_for_each_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["taskq.testing.fixtures"]')
    pytester.makepyfile(SUITE)
    options = ("asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function")
    outcome = pytester.inline_run("-q", *(f"--override-ini={option}" for option in options))
    outcome.assertoutcome(passed=2)
