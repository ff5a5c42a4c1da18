"""Two versions in one cluster under load: rolled forth and back, node by node, and then raised.

    old old old -> new old old -> ... -> new new new -> ... -> old old old -> ... -> level raised

The later version is a folder of packages (`python -m tests.builds.tomorrow FOLDER` makes one).
What clients heard is judged as in a campaign; the states on the disks must be the same.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from chaos.history import History
from chaos.live.alike import differences
from chaos.live.cluster import LiveCluster
from chaos.live.ending import finish
from chaos.live.gaps import longest_gap
from chaos.live.load import Load
from chaos.live.probe import Probe
from chaos.live.readout import read_out
from chaos.live.recorder import Recorder
from chaos.live.stamp import stamp
from chaos.live.verdict import judged
from taskq import AsyncClient, NotFound, RequestRefused
from taskq.commands import GetCluster, ResumeQueue, UpgradeCluster
from taskq.results import ClusterStatus, MemberView

SETTINGS = {"broker.queue_depth_threshold": 10_000_000}
PACE_SECS = 0.03
NOWHERE = "a-queue-that-does-not-exist"
START_SECS = 20.0
# An interpreter is started for each: a client of the later version, with a command of its own.
MARKED_AT = ("one new", "all new", "raised")
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
class Run:
    """`later`: the folder of the later version; `rounds`: how often it is rolled forth and back.
    `seen`: when, the members' versions, the level, and what all could; `rolls`: when each
    began, and when the cluster was whole again; `acks`: the probe's."""

    home: Path
    later: Path
    rounds: int = 1
    seed: int = 6
    history: History = field(default_factory=History)
    seen: list[tuple[str, dict[str, str], int, int]] = field(default_factory=list)
    resumed: list[tuple[str, str]] = field(default_factory=list)
    marked: list[tuple[str, str]] = field(default_factory=list)
    rolls: list[tuple[float, float]] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    raised: Any = None
    old_code: int | None = None
    old_said: str = ""
    violations: list[str] = field(default_factory=list)


async def run_upgrade(run: Run) -> None:
    """Carries it out. Raises NotWhole or NodeDied where the cluster breaks."""
    with LiveCluster(run.home, settings=SETTINGS) as cluster:
        cluster.start()
        await cluster.whole()
        recorder = Recorder(run.history)
        load = Load(cluster.urls, recorder, run.seed, PACE_SECS)
        probe = Probe(cluster.url, recorder)
        load.start()
        probe.start()
        await _Rolling(run, cluster).carry_out()
        load.check()
        await load.stop()
        await probe.stop()
        run.acks = probe.acks
        if probe.failed():
            run.violations.append(f"planned: {len(probe.failed())} probes failed")
        async with AsyncClient(cluster.url) as client:
            ids = {call.args["id"] for call in run.history.of("submit")}
            run.history.final = await read_out(client, ids)
        run.violations += await differences(cluster)
    run.violations += judged(run.history).violations


class _Rolling:
    """What an operator does."""

    def __init__(self, run: Run, cluster: LiveCluster) -> None:
        self._run, self._cluster = run, cluster

    async def carry_out(self) -> None:
        run, names = self._run, list(self._cluster.nodes)
        later = environment(run.later)
        await self._look("old")
        for number in range(run.rounds):
            for name in names:
                await self._roll(name, later)
                if not number and name == names[0]:
                    await self._look("one new")
                    await self._try_to_raise()
            if not number:
                await self._look("all new")
            for name in names:
                await self._roll(name, {})
        await self._look("all old again")
        for name in names:
            await self._roll(name, later)
        await self._look("all new again")
        run.raised = await self._ask(UpgradeCluster())
        await self._look("raised")
        await self._start_old(names[1])
        await self._roll(names[1], later)
        await self._look("after")

    async def _roll(self, name: str, variables: dict[str, str]) -> None:
        """Stops the node, and starts it with the version that these variables name."""
        node, started = self._cluster.nodes[name], time.monotonic()
        if node.running:
            await asyncio.to_thread(node.terminate)
            assert node.returncode == 0, node.log_tail()
        node.environment = variables
        node.spawn()
        await self._cluster.whole()
        self._run.rolls.append((started, time.monotonic()))

    async def _ask(self, question: Any) -> Any:
        async with AsyncClient(self._cluster.url) as client:
            return await client.call(question)

    async def _look(self, when: str) -> None:
        run = self._run
        status: ClusterStatus = await self._ask(GetCluster())
        members = [MemberView(*fields) for fields in status.members]
        versions = {member.node_id: member.version for member in members}
        run.seen.append((when, versions, status.level, status.level_possible))
        try:
            await self._ask(ResumeQueue(NOWHERE))
            run.resumed.append((when, "done"))
        except NotFound:
            run.resumed.append((when, "not found"))
        if when in MARKED_AT:
            run.marked.append((when, await asyncio.to_thread(self._mark)))

    def _mark(self) -> str:
        command = [sys.executable, "-c", MARK, self._cluster.url]
        variables = environment(self._run.later)
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    async def _try_to_raise(self) -> None:
        try:
            await self._ask(UpgradeCluster(2))
        except RequestRefused as error:
            self._run.refusals.append(error.message)

    async def _start_old(self, name: str) -> None:
        """The old version where the state is of the new level: it must end by itself."""
        node = self._cluster.nodes[name]
        await asyncio.to_thread(node.terminate)
        lines = len(node.log_lines())
        node.environment = {}
        node.spawn()
        await asyncio.to_thread(node.wait, START_SECS)
        self._run.old_code = node.returncode
        self._run.old_said = json.dumps(node.log_lines()[lines:])
        if node.returncode != 1:
            self._run.violations.append(f"refuses: the old version ended with {node.returncode}")


def environment(folder: Path) -> dict[str, str]:
    """Variables of a process that runs the version in this folder, wherever it is started."""
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def summary(run: Run) -> dict[str, Any]:
    """One line about a run. Times in seconds."""
    outcomes = Counter(call.code or call.outcome for call in run.history.calls)
    secs = sorted(ended - began for began, ended in run.rolls)
    gaps = sorted(longest_gap(run.acks, *roll) for roll in run.rolls)
    return {
        **stamp(),
        "rolls": len(run.rolls),
        "roll_secs": [round(secs[len(secs) // 2], 1), round(secs[-1], 1)],
        "gap_secs": [round(gaps[len(gaps) // 2], 3), round(gaps[-1], 3)],
        "calls": len(run.history.calls),
        "unknown": outcomes["unknown"],
        "tasks": sum(run.history.final.states.values()) if run.history.final else 0,
        "seen": [[when, level, possible] for when, _, level, possible in run.seen],
        "old_code": run.old_code,
        "violations": len(run.violations),
        "first_violations": run.violations[:5],
    }


@click.command()
@click.argument("later", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=3, show_default=True, help="How often it is rolled to and fro.")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/upgrade.jsonl.")
def main(later: Path, rounds: int, keep: bool) -> None:
    """Roll a cluster to the version in the folder LATER and back. Exit code 1: a broken promise."""
    run = Run(Path(tempfile.mkdtemp(prefix="taskq-upgrade-")), later.absolute(), rounds)
    gc.disable()  # a full collection of the history would stop the probe for 0.1 s
    asyncio.run(run_upgrade(run))
    finish("upgrade", summary(run), run.violations, run.home, keep=keep)


if __name__ == "__main__":
    main()
