"""`python -m chaos.live.catch_up`: a follower that was away for 1,000,000 tasks is brought up.

It comes back by a streamed snapshot while the cluster serves. Measured: how long that takes, the
longest gap between acknowledged probes meanwhile, and the memory of the nodes against idle.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from chaos.history import History
from chaos.live.alike import on_disk
from chaos.live.cluster import LiveCluster
from chaos.live.ending import finish
from chaos.live.gaps import longest_gap
from chaos.live.gauges import MemoryWatch, anonymous_bytes, log_counts
from chaos.live.probe import Probe
from chaos.live.recorder import Recorder
from chaos.live.stamp import stamp
from taskq import AsyncClient
from taskq.client.identifier import new_task_id
from taskq.commands import SubmitTask, SubmitTasks

SETTINGS = {"broker.queue_depth_threshold": 10_000_000}
PAYLOAD = b"p" * 100
BATCH_COUNT = 500
UNDER_WAY_COUNT = 8
# The state is written and the log is cut; memory is what it is when nothing happens.
QUIET_SECS = 5.0
WHOLE_SECS = 300.0
INSTALLED = "a snapshot was installed"


@dataclass
class Run:
    """One experiment and how it went. Gaps and times in seconds, memory in bytes (anonymous):
    `idle` of leader, follower that stayed, follower that left (before the tasks; the others after
    them), `most` while it was brought up, `after`: of the one that was."""

    tasks: int
    home: Path
    settings: dict[str, Any] = field(default_factory=dict)
    quiet_secs: float = QUIET_SECS
    snapshots: int = 0
    secs: float = 0.0
    gap: float = 0.0
    calm: float = 0.0
    late: float = 0.0
    idle: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    after: int = 0
    violations: list[str] = field(default_factory=list)


async def run_catch_up(run: Run) -> None:
    """Carries out the experiment. Raises NotWhole or NodeDied where the cluster breaks."""
    with LiveCluster(run.home, settings={**SETTINGS, **run.settings}) as cluster:
        cluster.start()
        await cluster.whole()
        leader = await cluster.leader()
        away, other = (name for name in cluster.nodes if name != leader)
        roles = {"leader": leader, "follower": other, "away": away}
        run.idle["away"] = anonymous_bytes(cluster.nodes[away].pid)
        cluster.kill(away)
        await fill(cluster.url, run.tasks)
        await asyncio.sleep(run.quiet_secs)
        for role in ("leader", "follower"):
            run.idle[role] = anonymous_bytes(cluster.nodes[roles[role]].pid)
        probe = Probe(cluster.url, Recorder(History()))
        probe.start()
        await asyncio.sleep(run.quiet_secs)
        started = time.monotonic()
        async with MemoryWatch(cluster.nodes) as watch:
            cluster.start([away])
            await cluster.whole(timeout_secs=WHOLE_SECS)
            ended = time.monotonic()
            await asyncio.sleep(1.0)
        run.most = {role: watch.most[name] for role, name in roles.items()}
        await probe.stop()
        acks = probe.acks
        run.secs = ended - started
        run.gap = longest_gap(acks, started, ended)
        run.calm = longest_gap(acks, started - run.quiet_secs + 0.5, started - 0.1)
        run.late = probe.lateness(started, ended)
        await asyncio.sleep(run.quiet_secs)
        run.after = anonymous_bytes(cluster.nodes[away].pid)
        run.snapshots = log_counts([cluster.nodes[away]], "info").get(INSTALLED, 0)
        if await cluster.leader() != leader:
            run.violations.append("the leader changed")
        if probe.failed():
            run.violations.append(f"{len(probe.failed())} probes failed")
        async with AsyncClient(cluster.url) as client:
            states = (await client.stats()).states
        if states["ready"] != run.tasks + len(acks):
            run.violations.append(f"{run.tasks} tasks and {len(acks)} probes became {states}")
        run.violations += await on_disk(cluster)


async def fill(url: str, tasks: int) -> None:
    """Submits so many tasks in batches. Raises what a refused submit raises."""
    counts = [min(BATCH_COUNT, tasks - at) for at in range(0, tasks, BATCH_COUNT)]
    async with AsyncClient(url) as client:

        async def submit() -> None:
            while counts:
                members = [
                    SubmitTask(new_task_id(), "bulk", "f", PAYLOAD) for _ in range(counts.pop())
                ]
                reply = await client.send(SubmitTasks(members))
                assert all(fine for fine, _ in reply.answers), reply

        await asyncio.gather(*(submit() for _ in range(UNDER_WAY_COUNT)))


def summary(run: Run) -> dict[str, Any]:
    """One line about a run. Times in seconds, memory in bytes."""
    return {
        **stamp(),
        "tasks": run.tasks,
        "snapshots": run.snapshots,
        "secs": round(run.secs, 2),
        "gap": round(run.gap, 4),
        "calm": round(run.calm, 4),
        "late": round(run.late, 4),
        "idle": run.idle,
        "most": run.most,
        "after": run.after,
        "load_average": [round(one, 1) for one in os.getloadavg()],
        "violations": len(run.violations),
        "first_violations": run.violations[:5],
    }


@click.command()
@click.option("--tasks", default=1_000_000, show_default=True, help="Submitted while it is away.")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/catch_up.jsonl.")
def main(tasks: int, keep: bool) -> None:
    """Bring a follower up that was away. Exit code 1: a promise was broken."""
    run = Run(tasks, Path(tempfile.mkdtemp(prefix="taskq-catch-up-")))
    gc.disable()  # a full collection of the history would stop the probe for 0.1 s
    asyncio.run(run_catch_up(run))
    finish("catch_up", summary(run), run.violations, run.home, keep=keep)


if __name__ == "__main__":
    main()
