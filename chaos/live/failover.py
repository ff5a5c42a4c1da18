"""`python -m chaos.live.failover`: how long a cluster does not serve when something happens to it.

Three real processes under load, and a probe that submits every 10 ms, begun before the fault. Time
without service is the longest gap between acknowledged probes. At the end everything is read out
and the history is judged; all nodes must hold the same.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from chaos.checkers import violations
from chaos.history import Call, History
from chaos.live.alike import differences
from chaos.live.cluster import LiveCluster
from chaos.live.failover_record import summary
from chaos.live.faults import FAULTS, PLANNED
from chaos.live.load import Load
from chaos.live.nemesis import Scene
from chaos.live.probe import Probe
from chaos.live.readout import read_out
from chaos.live.recorder import Recorder
from chaos.live.strikes import CALM_SECS, SETTLE_SECS, Strike, Striker
from chaos.live.unserved import without_service
from chaos.record import append
from taskq import AsyncClient

SETTINGS = {"broker.queue_depth_threshold": 10_000_000}
# Where nobody listens: clients that are told so stay at the node that they have.
NOWHERE = "127.0.0.1:1"
# Parts of the calls that give up early, so that some outcomes stay unknown.
HASTY = 0.2


@dataclass
class Run:
    """One experiment and how it went. `plan`: the faults, one after the other; `pace_secs`: the
    mean pause of each client of the load; `settings`: of all nodes, beside those that every run
    has; `scattered`: clients stay at any node, which passes their requests on; `calm_secs`,
    `settle_secs`: before and after each fault. `failed`: calls that ended without service though
    they were to wait for it."""

    plan: Sequence[str]
    seed: int
    home: Path
    pace_secs: float = 0.02
    settings: dict[str, Any] = field(default_factory=dict)
    scattered: bool = False
    calm_secs: float = CALM_SECS
    settle_secs: float = SETTLE_SECS
    history: History = field(default_factory=History)
    strikes: list[Strike] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    elected: list[float] = field(default_factory=list)
    late: list[tuple[float, float]] = field(default_factory=list)
    failed: list[Call] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    load_averages: list[float] = field(default_factory=list)
    wall_secs: float = 0.0
    stopped: bool = False

    @property
    def planned(self) -> bool:
        """Nothing breaks: no request may fail."""
        return PLANNED.issuperset(self.plan)

    def stop(self) -> None:
        """Ends after the strike that is under way."""
        self.stopped = True


async def run_failover(run: Run, on_strike: Callable[[], None] = lambda: None) -> None:
    """Carries out the experiment. Raises NotWhole, NodeDied or TimeoutError where a cluster does
    not come back, and AssertionError where a client heard what no node may say."""
    started = time.monotonic()
    recorder = Recorder(run.history)
    hasty = 0.0 if run.planned else HASTY
    settings = {**SETTINGS, **({"broker.advertise": NOWHERE} if run.scattered else {})}
    with LiveCluster(run.home, settings={**settings, **run.settings}) as cluster:
        cluster.start()
        await cluster.whole()
        load = Load(cluster.urls, recorder, run.seed, run.pace_secs, hasty)
        probe = Probe(cluster.url, recorder)
        striker = Striker(
            *(Scene(cluster, random.Random(run.seed)), probe, recorder),
            calm_secs=run.calm_secs,
            settle_secs=run.settle_secs,
        )
        load.start()
        probe.start()
        for fault in run.plan:
            if run.stopped:
                break
            run.strikes.append(await striker.strike(*FAULTS[fault], fault))
            run.load_averages.append(os.getloadavg()[0])
            load.check()
            on_strike()
        await load.stop()
        await probe.stop()
        async with AsyncClient(cluster.url) as client:
            ids = {call.args["id"] for call in run.history.of("submit")}
            run.history.final = await read_out(client, ids)
        run.violations = await differences(cluster)
        run.elected = elections(cluster)
    run.acks, run.late = probe.acks, probe.late
    run.failed = without_service(run.history, planned=run.planned)
    run.violations += violations(run.history)
    run.wall_secs = time.monotonic() - started


def elections(cluster: LiveCluster) -> list[float]:
    """When nodes were elected, by their logs; seconds since 1970."""
    lines = [line for node in cluster.nodes.values() for line in node.log_lines()]
    return sorted(
        datetime.fromisoformat(line["timestamp"]).timestamp()
        for line in lines
        if line.get("message") == "elected"
    )


@click.command()
@click.option("--fault", type=click.Choice(list(FAULTS)), required=True, help="What happens.")
@click.option("--times", default=50, show_default=True, help="How often.")
@click.option("--seed", default=None, type=int, help="Of the load and the moments.")
@click.option("--pace", default=0.02, show_default=True, help="Mean pause of a client, seconds.")
@click.option("--scattered", is_flag=True, help="Clients stay at any node, which passes on.")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/failover.jsonl.")
@click.option("--history", is_flag=True, help="Keep folders and history in any case.")
@click.option("--json", "as_json", is_flag=True, help="The result as one line of JSON.")
def main(
    fault: str,
    times: int,
    seed: int | None,
    pace: float,
    scattered: bool,
    keep: bool,
    history: bool,
    as_json: bool,
) -> None:
    """Strike a cluster under load, again and again; measure the gaps; account for every request.

    Ctrl-C ends after the present strike and still judges it. Exit code 1: a promise was broken; the
    folders and the history are kept.
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    home = Path(tempfile.mkdtemp(prefix="taskq-failover-"))
    run = Run([fault] * times, seed, home, pace, scattered=scattered)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"))
    try:
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            bar = progress.add_task(fault, total=times)
            gc.disable()  # a full collection of the history would stop the probe for 0.1 s
            asyncio.run(_until_interrupted(run, lambda: progress.advance(bar)))
    except BaseException:
        run.history.save(run.home / "history.jsonl.gz")
        console.print(f"The folders and the history are kept in {run.home}.")
        raise
    row = summary(run)
    if keep and not run.stopped:
        append("failover", row)
    if as_json:
        print(json.dumps(row, sort_keys=True))
    else:
        for key, value in row.items():
            print(f"{key}: {value}")
    for line in run.violations[:50]:
        console.print(line, markup=False, highlight=False)
    if run.violations or history:
        run.history.save(run.home / "history.jsonl.gz")
        console.print(f"The folders and the history are kept in {run.home}.")
    else:
        shutil.rmtree(run.home, ignore_errors=True)
    sys.exit(1 if run.violations else 0)


async def _until_interrupted(run: Run, on_strike: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, run.stop)
    await run_failover(run, on_strike)


if __name__ == "__main__":
    main()
