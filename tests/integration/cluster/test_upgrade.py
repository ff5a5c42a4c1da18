"""Two versions in one cluster: rolled forth, back and forth again under load, then raised for good.

The later version is made by `tests/builds/tomorrow.py`. Everything is seen from outside: what the
load heard is judged as in a campaign, and the states on the disks must be the same.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chaos.history import History
from chaos.live.alike import differences
from chaos.live.cluster import LiveCluster
from chaos.live.load import Load
from chaos.live.readout import read_out
from chaos.live.recorder import Recorder
from chaos.live.verdict import judged
from cluster.replication.build import OWN_BUILD
from taskq import AsyncClient, NotFound, RequestRefused
from taskq.commands import GetCluster, ResumeQueue, UpgradeCluster
from taskq.results import ClusterStatus, MemberView, Upgraded
from tests.builds import tomorrow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TODAY = OWN_BUILD.version
NOWHERE = "a-queue-that-does-not-exist"
# An interpreter is started for each.
MARKED_AT = ("one new", "all new", "raised")
# A client of the later version, which knows the command that today's does not.
MARK = """
import sys
from taskq import Client, RequestRefused
from taskq.commands import MarkQueue
with Client(sys.argv[1]) as client:
    try:
        print(client.call(MarkQueue("chaos-a")))
    except RequestRefused as error:
        print(error.code, error.message)
"""


@dataclass
class Exercise:
    """A cluster under load that is rolled from version to version, and what was seen."""

    cluster: LiveCluster
    folder: Path
    history: History = field(default_factory=History)
    resumed: list[tuple[str, str]] = field(default_factory=list)
    marked: list[tuple[str, str]] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], int, int]] = field(default_factory=list)
    roll_secs: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    raised: Any = None
    refused_start: tuple[int | None, str, float] = (None, "", 0.0)
    violations: list[str] = field(default_factory=list)

    async def run(self) -> None:
        cluster = self.cluster
        cluster.start()
        await cluster.whole()
        load = Load(cluster.urls, Recorder(self.history), 6, 0.03)
        load.start()
        await self.look("old")
        later = tomorrow.environment(self.folder)
        await self.roll("n1", later)
        await self.look("one new")
        await self.try_to_raise()
        await self.roll("n2", later)
        await self.roll("n3", later)
        await self.look("all new")
        for name in cluster.nodes:
            await self.roll(name, {})
        await self.look("all old again")
        for name in cluster.nodes:
            await self.roll(name, later)
        await self.look("all new again")
        self.raised = await self.ask(UpgradeCluster())
        await self.look("raised")
        await self.start_old("n2")
        await self.roll("n2", later)
        await self.look("after")
        await asyncio.sleep(0.5)
        load.check()
        await load.stop()
        async with AsyncClient(cluster.url) as client:
            ids = {call.args["id"] for call in self.history.of("submit")}
            self.history.final = await read_out(client, ids)
        self.violations += await differences(cluster)
        self.violations += judged(self.history).violations

    async def roll(self, name: str, environment: dict[str, str]) -> None:
        """Stops the node as an operator does, and starts it with the version of `environment`."""
        node, started = self.cluster.nodes[name], time.monotonic()
        if node.running:
            await asyncio.to_thread(node.terminate)
            assert node.returncode == 0
        node.environment = environment
        node.spawn()
        await self.cluster.whole()
        self.roll_secs.append(time.monotonic() - started)

    async def ask(self, question: Any) -> Any:
        async with AsyncClient(self.cluster.url) as client:
            return await client.call(question)

    async def look(self, when: str) -> None:
        """Versions and levels; how the outcome that will change is now, and the new command."""
        status: ClusterStatus = await self.ask(GetCluster())
        versions = {one.node_id: one.version for one in (MemberView(*m) for m in status.members)}
        self.seen.append((when, versions, status.level, status.level_possible))
        try:
            await self.ask(ResumeQueue(NOWHERE))
            self.resumed.append((when, "done"))
        except NotFound:
            self.resumed.append((when, "not found"))
        if when in MARKED_AT:
            self.marked.append((when, await asyncio.to_thread(self.mark)))

    def mark(self) -> str:
        command = [sys.executable, "-c", MARK, self.cluster.url]
        done = subprocess.run(
            command,
            env=tomorrow.environment(self.folder),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout.strip()

    async def try_to_raise(self) -> None:
        try:
            await self.ask(UpgradeCluster(tomorrow.LEVEL))
        except RequestRefused as error:
            self.refusals.append(error.message)

    async def start_old(self, name: str) -> None:
        """Starts the old version where the state is of the new level."""
        node = self.cluster.nodes[name]
        await asyncio.to_thread(node.terminate)
        lines = len(node.log_lines())
        node.environment = {}
        node.spawn()
        started = time.monotonic()
        await asyncio.to_thread(node.wait, 20.0)
        told = json.dumps(node.log_lines()[lines:])
        self.refused_start = (node.returncode, told, time.monotonic() - started)


@pytest.fixture(scope="module")
def exercise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exercise]:
    # Longer than the time after which every stack is printed; `timeout` still does it.
    faulthandler.cancel_dump_traceback_later()
    home = tmp_path_factory.mktemp("upgrade")
    folder = tomorrow.make(home / "tomorrow")
    with LiveCluster(home, settings={"broker.queue_depth_threshold": 10_000_000}) as cluster:
        made = Exercise(cluster, folder)
        asyncio.run(made.run())
        sys.stdout.write(f"rolls: {[round(secs, 1) for secs in made.roll_secs]} s\n")
        yield made


def test_nothing_is_lost_and_the_states_are_the_same(exercise: Exercise) -> None:
    assert exercise.violations == []
    done = [call for call in exercise.history.calls if call.ok]
    assert sum(call.kind == "submit" for call in done) > 500
    assert sum(call.kind == "complete" for call in done) > 200


def test_versions_and_level_are_told(exercise: Exercise) -> None:
    old, new = TODAY, tomorrow.VERSION
    assert exercise.seen == [
        ("old", {"n1": old, "n2": old, "n3": old}, 1, 1),
        ("one new", {"n1": new, "n2": old, "n3": old}, 1, 1),
        ("all new", {"n1": new, "n2": new, "n3": new}, 1, 2),
        ("all old again", {"n1": old, "n2": old, "n3": old}, 1, 1),
        ("all new again", {"n1": new, "n2": new, "n3": new}, 1, 2),
        ("raised", {"n1": new, "n2": new, "n3": new}, 2, 2),
        ("after", {"n1": new, "n2": new, "n3": new}, 2, 2),
    ]


def test_nothing_new_is_done_before_the_level_is_raised(exercise: Exercise) -> None:
    raised = {"raised", "after"}
    assert [when for when, _ in exercise.marked] == list(MARKED_AT)
    for when, outcome in exercise.resumed:
        assert (outcome == "done") == (when in raised), when
    for when, outcome in exercise.marked:
        assert (outcome == "Done()") == (when in raised), when
        assert outcome == "Done()" or outcome.startswith("UNKNOWN_MESSAGE"), (when, outcome)


def test_it_is_not_raised_while_one_member_is_old(exercise: Exercise) -> None:
    (why,) = exercise.refusals
    assert f"stays at 1: n2 is taskq {TODAY}, which runs feature level 1; n3 is" in why
    assert exercise.raised == Upgraded(1, 2)


def test_the_old_version_refuses_to_start_and_says_why(exercise: Exercise) -> None:
    code, told, secs = exercise.refused_start
    assert code == 1
    assert "start a version that runs level 2" in told
    assert f"taskq {TODAY}, which runs feature level 1" in told
    assert "Traceback" not in told
    assert secs < 10
