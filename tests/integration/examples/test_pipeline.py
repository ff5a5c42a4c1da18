"""examples/pipeline on three nodes, whose leader is killed while it runs: the total is the same."""

from __future__ import annotations

import importlib.util
import shutil
import sysconfig
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import taskq
from tests.integration.examples.conftest import Example, until

PACKAGES = ["email", "json"]
# What the example says of itself.
FILES_AHEAD = 4
MEASURED_AHEAD = 32


def loaded(example: Example, name: str) -> ModuleType:
    """A module of the example."""
    spec = importlib.util.spec_from_file_location(name, example.folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counted_here(example: Example, files: list[Path]) -> Counter[str]:
    """The total without any queue: a task that is called is an ordinary function."""
    stages = loaded(example, "stages")
    total = Counter(files=len(files))
    for path in files:
        for source in stages.list_functions(str(path)):
            total.update(stages.measure(source))
    return total


@pytest.mark.slow
def test_the_total_is_the_same_when_the_leader_is_killed(example: Example) -> None:
    sources = example.folder / "sources"
    for package in PACKAGES:
        folder = Path(sysconfig.get_path("stdlib")) / package
        ignored = shutil.ignore_patterns("__pycache__", "test*")
        shutil.copytree(folder, sources / package, ignore=ignored)
    files = sorted(sources.rglob("*.py"))
    wanted = counted_here(example, files)
    assert wanted["functions"] > 500
    up = example.up()
    nodes = up.nodes()
    example.start(example.command("taskq worker")).printed("at a time.")

    command = example.command("python pipeline.py").rpartition(" ")[0]
    with taskq.Client(example.url) as client:
        pipeline = example.start(f"{command} {sources}")
        under_way = []

        def completed() -> int:
            stats = client.stats()
            done = stats.states["completed"]
            under_way.append(sum(stats.states.values()) - done)
            return done

        until(lambda: completed() > wanted["functions"] // 8)
        leader = client.stats().leader
        (node,) = [one for one in nodes if f"raft.node_id={leader}" in " ".join(one.cmdline())]
        node.kill()
        assert pipeline.process.poll() is None, "over before the leader was killed"
        until(lambda: completed() and pipeline.process.poll() is not None)
        assert pipeline.process.returncode == 0, pipeline.log
        assert completed() == wanted["functions"] + len(files)
    assert pipeline.log == (
        "{files} files, {functions} functions, {lines} lines, {branches} branches\n".format_map(
            wanted
        )
    )
    up.printed(f"{leader} ended (signal 9)")
    assert FILES_AHEAD < max(under_way) <= FILES_AHEAD + MEASURED_AHEAD
