"""Runs seeds, several at a time, and says what happened in them.

python -m chaos.sim --seeds 0:1000 --jobs 2      run them, append to chaos/results/sim.jsonl
python -m chaos.sim --replay 17 --trace          one seed, with all that happened
python -m chaos.sim --replay 17 --faults '[...]' with a shortened list of faults
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chaos.record import append, sim_summary
from chaos.sim.plan import Fault
from chaos.sim.seed import Outcome, run_seed
from chaos.sim.shorten import shorten

# What must have happened in a run of many seeds: a simulation without it shows nothing.
MUST_HAPPEN = (
    *("terms led", "snapshot installed", "unsynced write", "partition healed", "transferred"),
    *("recovered", "loss found", "kill", "power cut", "pause", "write failed", "disks compared"),
    *("members changed", "fault: members"),
    *("fault: stop", "maps compared", "orders compared", "complete ok", "stale status ok"),
)
# So many seeds are enough for all of it.
ENOUGH_SEEDS = 30
TRACE_LINES = 60


class Seeds(click.ParamType[range]):
    """FIRST:END, or a count."""

    name = "FIRST:END"

    def convert(self, value: Any, param: Any, ctx: Any) -> range:
        first, colon, end = str(value).partition(":")
        try:
            return range(int(first), int(end)) if colon else range(int(first))
        except ValueError:
            self.fail(f"{value!r} is not FIRST:END", param, ctx)


@click.command()
@click.option("--seeds", type=Seeds(), default="0:100", show_default=True)
@click.option("--secs", type=float, help="Stop after so many seconds, whatever is left.")
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option("--replay", type=int, help="Run this seed alone.")
@click.option("--faults", help="With --replay: these faults (JSON) in the place of its own.")
@click.option("--trace", is_flag=True, help="With --replay: print everything that happened.")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/sim.jsonl.")
def main(
    seeds: range,
    secs: float | None,
    jobs: int,
    replay: int | None,
    faults: str | None,
    trace: bool,
    keep: bool,
) -> None:
    """Simulate whole clusters from seeds. Exit code 1: a promise was broken."""
    console = Console(stderr=True, highlight=False)
    if replay is not None:
        sys.exit(_replay(replay, faults, trace, console))
    outcomes, wall_secs = _run(seeds, secs, jobs, console)
    row = sim_summary(outcomes, seeds, wall_secs)
    for name, value in row.items():
        print(f"{name}: {value}")
    missing = [name for name in MUST_HAPPEN if not row["counts"].get(name)]
    if missing and len(outcomes) >= ENOUGH_SEEDS:
        console.print(f"[red]Never happened: {', '.join(missing)}")
    broken = [outcome for outcome in outcomes if outcome.broken]
    if keep:
        append("sim", row)
    if broken:
        _show(broken[0], console)
    sys.exit(1 if broken or (missing and len(outcomes) >= ENOUGH_SEEDS) else 0)


def _run(
    seeds: range, secs: float | None, jobs: int, console: Console
) -> tuple[list[Outcome], float]:
    """Until all are run, the time is over, or a promise is broken."""
    started = time.monotonic()
    outcomes: list[Outcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("seeds", total=len(seeds))
        for outcome in _outcomes(seeds, jobs):
            outcomes.append(outcome)
            progress.advance(bar)
            if outcome.broken or (secs is not None and time.monotonic() - started > secs):
                break
    return outcomes, time.monotonic() - started


def _outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs <= 1:
        yield from map(_quiet, seeds)
        return
    context = multiprocessing.get_context("forkserver")
    with context.Pool(jobs) as pool:
        yield from pool.imap_unordered(_quiet, seeds)


def _quiet(seed: int) -> Outcome:
    """A run, without its trace where it went well: it is long."""
    outcome = run_seed(seed)
    if not outcome.broken:
        outcome.trace = []
    return outcome


def _replay(seed: int, text: str | None, trace: bool, console: Console) -> int:
    faults = None if text is None else [Fault(*fields) for fields in json.loads(text)]
    outcome = run_seed(seed, faults, tracing=trace)
    lines = outcome.trace if trace else outcome.trace[-TRACE_LINES:]
    print("\n".join(lines))
    for name, count in sorted(outcome.counts.items()):
        console.print(f"{count:7} {name}", markup=False)
    verdict = outcome.broken or "all promises kept"
    console.print(
        f"seed {seed}, {outcome.nodes} nodes, {outcome.virtual_secs:.0f} s in"
        f" {outcome.cpu_secs:.1f} s of CPU, fingerprint {outcome.fingerprint}: {verdict}",
        markup=False,
    )
    return 1 if outcome.broken else 0


def _show(outcome: Outcome, console: Console) -> None:
    """A failure, with as few faults as lead to it."""
    console.print(f"[red]seed {outcome.seed}: {outcome.broken}", markup=True)
    kind = outcome.broken.partition(":")[0]

    def fails(faults: list[Fault]) -> bool:
        again = run_seed(outcome.seed, faults)
        return bool(again.broken) and again.broken.partition(":")[0] == kind

    with console.status("shortening"):
        faults = shorten(outcome.faults, fails, tries_max=60)
        again = run_seed(outcome.seed, faults)
    for line in again.trace[-TRACE_LINES:]:
        console.print(line, markup=False, soft_wrap=True)
    text = json.dumps([fault.as_list() for fault in faults])
    console.print(f"{again.broken}", markup=False)
    console.print(
        f"To see it all: python -m chaos.sim --replay {outcome.seed} --trace --faults '{text}'",
        markup=False,
        soft_wrap=True,
    )
