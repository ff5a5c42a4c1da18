"""`python -m chaos.live.soak`: half of the peak for half an hour, with faults all the time.

Tasks are submitted at a rate and done at once, retention removes what is finished, random faults
strike one after the other. At the end everything is accounted for, all nodes hold the same, and
memory, open files, log and disk of each node have stayed bounded (`chaos.live.bounded`).
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from chaos.history import Call, History
from chaos.live.alike import on_disk
from chaos.live.bounded import GAUGES, Use, unbounded, use_of
from chaos.live.campaign import GIVEN_UP, STOP_SECS
from chaos.live.cluster import LiveCluster
from chaos.live.gauges import anonymous_bytes, folder_bytes, open_files
from chaos.live.grounds import ground_of
from chaos.live.nemeses import ALL_NEMESES, Aim, aims, drawn, on_disks
from chaos.live.nemesis import Scene
from chaos.live.probe import Probe
from chaos.live.recorder import Recorder
from chaos.live.report import REPORTS
from chaos.live.soak_load import PEAK_SECS, PEAK_START_SECS, Account, SoakLoad
from chaos.live.soak_page import PLOTS, plotted
from chaos.live.soak_record import row_of
from chaos.live.soak_report import write
from chaos.live.strikes import Strike, Striker
from chaos.live.unserved import without_service
from chaos.record import RESULTS, append
from cluster.storage.files import SET_ASIDE
from taskq import AsyncClient

# Retention comes round several times in a run; a repeat is known for longer than clients repeat.
SETTINGS = {
    "broker.queue_depth_threshold": 10_000_000,
    "persistence.retention_max_bytes": 64 << 20,
    "persistence.dedup_window_secs": 60,
    "persistence.compact_interval_secs": 60,
}
SAMPLE_SECS = 5.0
# From one strike to the next: a fault, and time in which nothing happens.
CALM_SECS = 5.0
SETTLE_SECS = 1.0
DRAIN_SECS = 180.0
TOLD_COUNT_MAX = 2_000


@dataclass
class Soak:
    """One run and how it went. `rate`: tasks per second; 0 becomes `part` of the `peak`, which is
    measured first, with nodes and load as they are. `samples`: by gauge and node, a value each 5 s,
    at `sampled`: seconds from the start of the load at that rate."""

    secs: float
    rate: float
    seed: int
    plan: Iterator[Aim]
    home: Path
    form: str = "processes"
    nodes: int = 3
    part: float = 0.5
    peak: float = 0.0
    equipped: bool = False
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    account: Account = field(default_factory=Account)
    strikes: list[Strike] = field(default_factory=list)
    struck: list[Aim] = field(default_factory=list)
    sampled: list[float] = field(default_factory=list)
    load_averages: list[float] = field(default_factory=list)
    done: list[tuple[float, int, int]] = field(default_factory=list)
    samples: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    failed: list[Call] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    started: float = 0.0
    load_secs: float = 0.0
    stopped: bool = False

    @property
    def uses(self) -> dict[str, dict[str, Use]]:
        """By gauge and node; none where the run was too short to be cut in three."""
        if len(self.sampled) < 3:
            return {}
        return {
            name: {node: use_of(values) for node, values in each.items()}
            for name, each in self.samples.items()
        }

    def stop(self) -> None:
        """Ends after the strike that is under way."""
        self.stopped = True


async def run_soak(
    soak: Soak,
    on_strike: Callable[[Strike], None] = lambda _: None,
    on_peak: Callable[[], None] = lambda: None,
) -> None:
    """Carries out the run, and judges it. Raises OSError where the ground cannot be made."""
    history = History()
    with LiveCluster(
        soak.home, soak.nodes, soak.settings, ground=ground_of(soak.form, soak.seed)
    ) as cluster:
        if soak.equipped:
            cluster.equip(soak.seed)
        cluster.start()
        load = SoakLoad(cluster.urls)
        recorder = Recorder(history)
        probe = Probe(cluster.url, recorder)
        soak.account = load.account
        with _noted(soak):
            await cluster.whole()
            scene = Scene(cluster, random.Random(soak.seed))
            striker = Striker(
                *(scene, probe, recorder), calm_secs=CALM_SECS, settle_secs=SETTLE_SECS
            )
            load.start()
            soak.peak = await load.peak()
            soak.rate = soak.rate or soak.part * soak.peak
            load.rate = soak.rate
            load.latencies.clear()
            on_peak()
            soak.started = time.monotonic()
            probe.start()
            sampling = asyncio.create_task(_sample(soak, cluster))
            try:
                with _noted(soak):
                    await _strikes(soak, striker, load, probe, on_strike)
            finally:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
                soak.load_secs = time.monotonic() - soak.started
                soak.acks, soak.latencies = probe.acks, load.latencies
            # A cluster that did not become whole may serve all the same: what became of the tasks?
            async with asyncio.timeout(STOP_SECS):
                await probe.stop()
            await _end(soak, cluster, load, sum(call.ok for call in probe.calls))
    soak.failed = without_service(history)
    for name, each in soak.uses.items():
        for node, use in each.items():
            soak.violations += unbounded(name, node, use, soak.load_secs)


@contextmanager
def _noted(soak: Soak) -> Iterator[None]:
    try:
        yield
    except GIVEN_UP as error:
        soak.violations.append(f"{type(error).__name__}: {error}"[:TOLD_COUNT_MAX])


async def _strikes(
    soak: Soak, striker: Striker, load: SoakLoad, probe: Probe, on_strike: Callable[[Strike], None]
) -> None:
    for aim in soak.plan:
        soak.struck.append(aim)
        strike = await striker.strike(aim.nemesis, aim.target)
        if not strike.missed:
            soak.strikes.append(strike)
        load.check()
        soak.acks = probe.acks
        on_strike(strike)
        if soak.stopped or time.monotonic() - soak.started > soak.secs:
            return
    await asyncio.sleep(max(0.0, soak.started + soak.secs - time.monotonic()))


async def _sample(soak: Soak, cluster: LiveCluster) -> None:
    while True:
        soak.sampled.append(time.monotonic() - soak.started)
        soak.load_averages.append(round(os.getloadavg()[0], 1))
        acknowledged, done = soak.account.acknowledged.count(1), soak.account.done()
        soak.done.append((soak.sampled[-1], acknowledged, done))
        found = await asyncio.to_thread(_gauges, cluster)
        for name, each in found.items():
            for node, value in each.items():
                soak.samples.setdefault(name, {}).setdefault(node, []).append(value)
        await asyncio.sleep(SAMPLE_SECS)


def _gauges(cluster: LiveCluster) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {name: {} for name in GAUGES}
    for name, node in cluster.nodes.items():
        pid = node.pid
        found["memory"][name] = anonymous_bytes(pid)
        found["files"][name] = open_files(pid)
        found["log"][name] = folder_bytes(node.folder / "log")
        found["disk"][name] = folder_bytes(node.folder) - folder_bytes(node.folder / SET_ASIDE)
    return found


async def _end(soak: Soak, cluster: LiveCluster, load: SoakLoad, probes: int) -> None:
    with _noted(soak):
        await load.drain(DRAIN_SECS)
    await load.stop()
    with _noted(soak):
        await cluster.whole()
    async with AsyncClient(cluster.url) as client:
        stats = await client.stats()
    soak.states, soak.totals = dict(stats.states), dict(stats.totals)
    soak.violations += soak.account.broken(soak.totals, soak.states, probes)
    soak.violations += await on_disk(cluster)


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="How long the load lasts.")
@click.option(
    "--part", default=0.5, show_default=True, help="Of the peak before the first fault, as load."
)
@click.option("--rate", default=0.0, help="Tasks per second, instead.")
@click.option("--seed", default=None, type=int, help="Of the faults.")
@click.option("--form", type=click.Choice(["processes", "namespaces"]), default="processes")
@click.option("--nemesis", multiple=True, type=click.Choice(list(ALL_NEMESES)), help="Only these.")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/soak.jsonl.")
def main(
    minutes: float,
    part: float,
    rate: float,
    seed: int | None,
    form: str,
    nemesis: tuple[str, ...],
    keep: bool,
) -> None:
    """Load a cluster steadily and strike it all the time; nothing may grow, nothing be lost.

    Ctrl-C ends after the present strike and still judges the run. Exit code 1: something did.
    """
    console = Console(stderr=True, soft_wrap=True)
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    deck = aims(ground_of(form).abilities, nemesis)
    soak = Soak(
        *(minutes * 60, rate, seed, drawn(deck, seed)),
        home=Path(tempfile.mkdtemp(prefix=f"taskq-soak-{seed}-")),
        form=form,
        part=part,
        equipped=on_disks(deck),
    )
    console.print(f"seed {seed}, settings {soak.settings}")
    console.print(f"The peak is measured first: {PEAK_START_SECS + PEAK_SECS:.0f} s.")
    _carried_out(soak, console)
    row = row_of(soak)
    report = write(soak, row, REPORTS)
    if keep:
        append("soak", row)
        if plotted([row]):
            shutil.copyfile(report, RESULTS / PLOTS)
    print(json.dumps(row, sort_keys=True))
    console.print(f"The report: {report}")
    for line in soak.violations[:50]:
        console.print(line, markup=False, highlight=False)
    if soak.violations:
        console.print(f"The folders are kept in {soak.home}.")
        sys.exit(1)
    shutil.rmtree(soak.home, ignore_errors=True)


def _carried_out(soak: Soak, console: Console) -> None:
    gc.disable()  # a full collection would stop the probe for 0.1 s
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("soak", total=soak.secs)

        def struck(strike: Strike) -> None:
            progress.update(bar, completed=time.monotonic() - soak.started)
            console.print(strike.told(soak.acks), markup=False, highlight=False)

        def measured() -> None:
            console.print(f"{soak.rate:,.0f} tasks/s, of a peak of {soak.peak:,.0f}")

        async def until_interrupted() -> None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, soak.stop)
            await run_soak(soak, struck, measured)

        asyncio.run(until_interrupted())


if __name__ == "__main__":
    main()
