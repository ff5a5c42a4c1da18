"""`python -m chaos.live.steady`: a healthy cluster under full load stays as it is.

Three processes, batches of 100 as fast as they are taken. No leader changes, nothing that was
applied is truncated, and each entry goes to each follower once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bench.loads import batches
from chaos.live.alike import on_disk
from chaos.live.cluster import LiveCluster
from chaos.live.ending import finish
from chaos.live.gauges import MemoryWatch, log_counts, metrics
from chaos.live.stamp import stamp
from taskq import AsyncClient

SETTINGS = {"broker.max_batch_claim": 100, "broker.queue_depth_threshold": 10_000_000}
# A log that nobody writes for so long has been sent whole.
STILL_SECS = 1.0
TRUNCATED = "truncating already-applied"


@dataclass
class Run:
    """One experiment and how it went. `entries`: written to the log in its time; `sent`: handed to
    both followers together; `elections`, `warnings`: lines in the nodes' logs."""

    secs: float
    home: Path
    settings: dict[str, Any] = field(default_factory=dict)
    cycles: int = 0
    load_secs: float = 0.0
    entries: int = 0
    sent: int = 0
    terms: tuple[int, int] = (0, 0)
    leaders: tuple[str, str] = ("", "")
    elections: int = 0
    truncated: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    most_bytes: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


async def run_steady(run: Run) -> None:
    """Carries out the experiment. Raises NotWhole or NodeDied where the cluster breaks."""
    with LiveCluster(run.home, settings={**SETTINGS, **run.settings}) as cluster:
        cluster.start()
        await cluster.whole()
        before = await cluster.same_index(still_secs=STILL_SECS)
        leader = await cluster.leader()
        node = cluster.nodes[leader]
        at_first = await metrics(node)
        elections = _elections(cluster)
        async with AsyncClient(cluster.url) as client, MemoryWatch(cluster.nodes) as watch:
            outcome = await batches(client, "steady", run.secs)
            run.cycles, run.load_secs = outcome.count, outcome.secs
            stats = await client.stats()
        run.most_bytes = watch.most
        after = await cluster.same_index(still_secs=STILL_SECS)
        at_last = await metrics(node)
        run.leaders = leader, await cluster.leader()
        run.terms = int(at_first["tq_raft_term"]), int(at_last["tq_raft_term"])
        run.entries = after - before
        sent = "tq_raft_entries_sent_total"
        run.sent = int(at_last[sent] - at_first[sent])
        run.elections = _elections(cluster) - elections
        run.truncated = sum(one.log.read_text().count(TRUNCATED) for one in cluster.nodes.values())
        run.warnings = log_counts(cluster.nodes.values(), "warning", "error", "critical")
        run.violations = [*broken(run), *await on_disk(cluster)]
        totals = stats.totals
        if totals["submitted"] != sum(stats.states.values()) + totals["removed"]:
            run.violations.append(f"sums: {stats}")
        if totals["completed"] != run.cycles:
            run.violations.append(f"completed {totals['completed']}, acknowledged {run.cycles}")


def _elections(cluster: LiveCluster) -> int:
    return log_counts(cluster.nodes.values(), "info").get("elected", 0)


def broken(run: Run) -> list[str]:
    """What a healthy cluster does not do, in sentences."""
    found = []
    if run.terms[0] != run.terms[1] or run.leaders[0] != run.leaders[1] or run.elections:
        found.append(
            f"the leader changed: {run.leaders}, terms {run.terms}, {run.elections} elections"
        )
    if run.truncated:
        found.append(f"{run.truncated} times {TRUNCATED!r}")
    if run.sent != 2 * run.entries:
        found.append(f"{run.entries} entries were written and {run.sent} sent to two followers")
    return found


def summary(run: Run) -> dict[str, Any]:
    """One line about a run. `sent_each`: how often an entry went to each follower."""
    return {
        **stamp(),
        "secs": round(run.load_secs, 1),
        "cycles": run.cycles,
        "cycles_per_sec": round(run.cycles / run.load_secs),
        "entries": run.entries,
        "sent_each": round(run.sent / 2 / run.entries, 6),
        "elections": run.elections,
        "terms": run.terms,
        "truncated": run.truncated,
        "warnings": run.warnings,
        "most_bytes": max(run.most_bytes.values()),
        "load_average": [round(one, 1) for one in os.getloadavg()],
        "violations": len(run.violations),
        "first_violations": run.violations[:5],
    }


@click.command()
@click.option("--minutes", default=5.0, show_default=True, help="How long the load lasts.")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/steady.jsonl.")
def main(minutes: float, keep: bool) -> None:
    """Load a healthy cluster fully; nothing may happen but work. Exit code 1: something did."""
    run = Run(minutes * 60, Path(tempfile.mkdtemp(prefix="taskq-steady-")))
    gc.disable()  # a full collection of the history would stop the probe for 0.1 s
    asyncio.run(run_steady(run))
    finish("steady", summary(run), run.violations, run.home, keep=keep)


if __name__ == "__main__":
    main()
