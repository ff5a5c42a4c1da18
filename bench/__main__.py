"""`python -m bench`: every load, several runs, a table, and JSON in the last line."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from statistics import median, quantiles
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.broker import Cluster
from bench.loads import MEASURED, Measured, Outcome
from bench.record import append, circumstances
from taskq import AsyncClient

SETTLE_SECS = 0.5


@click.command()
@click.option("--runs", default=5, show_default=True, help="Runs of each load.")
@click.option("--secs", default=4.0, show_default=True, help="Length of a run.")
@click.option("--only", default="", help="Only loads whose name contains this.")
@click.option("--keep/--no-keep", default=True, help="Append to bench/results.jsonl.")
def main(runs: int, secs: float, only: str, keep: bool) -> None:
    """Measure a broker on this machine: durability fsync, client and broker side by side."""
    chosen = [measured for measured in MEASURED if only in measured.name]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    rows = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("measuring", total=runs * len(chosen))
        for measured in chosen:
            rows.append(_measure(measured, runs, secs, lambda: progress.advance(bar)))
    wide = None if console.is_terminal else 140
    Console(width=wide).print(_table(rows))
    missed = [row["load"] for row in rows if _missed(row)]
    if missed:
        console.print(f"Below the goal: {', '.join(missed)}.")
    if keep:
        append(rows)
    print(json.dumps(rows))
    sys.exit(1 if missed else 0)


def _missed(row: dict[str, Any]) -> bool:
    slow = row["goal_ms"] is not None and row["p50_ms"] > row["goal_ms"]
    return slow or (row["goal"] is not None and row["rate"] < row["goal"])


def _measure(measured: Measured, runs: int, secs: float, step: Any) -> dict[str, Any]:
    rates, broker_us, client_us, latencies = [], [], [], []
    with Cluster(measured.nodes, measured.settings) as cluster:
        for number in range(runs + 1):  # the first one warms up and does not count
            before, own = cluster.cpu_secs(), time.process_time()
            outcome = _run(measured, cluster, f"bench-{number}", secs if number else 1.0)
            if number == 0:
                continue
            rates.append(outcome.count / outcome.secs)
            broker_us.append((cluster.cpu_secs() - before) / outcome.count * 1e6)
            client_us.append((time.process_time() - own) / outcome.count * 1e6)
            latencies += outcome.latencies_ms
            step()
            time.sleep(SETTLE_SECS)
    return {
        **circumstances(),
        "load": measured.name,
        "unit": measured.unit,
        "goal": measured.goal,
        "rate": median(rates),
        "rate_min": min(rates),
        "rate_max": max(rates),
        "p50_ms": median(latencies) if latencies else None,
        "p99_ms": quantiles(latencies, n=100)[98] if latencies else None,
        "broker_us": median(broker_us),
        "client_us": median(client_us),
        "goal_ms": measured.goal_ms,
        "settings": measured.settings,
    }


def _run(measured: Measured, cluster: Cluster, queue: str, secs: float) -> Outcome:
    async def run() -> Outcome:
        load: Any = measured.load
        if measured.at:
            leads = cluster.brokers[cluster.leader]
            node = leads if measured.at == "leader" else cluster.followers[0]
            direct: Outcome = await load(node.address, queue, secs)
            return direct
        async with AsyncClient(cluster.url, timeout=60) as client:
            await client.ping()
            outcome: Outcome = await load(client, queue, secs)
            return outcome

    try:
        import uvloop
    except ImportError:
        return asyncio.run(run())
    return uvloop.run(run())


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="fsync before every acknowledgement")
    for name in ("load", "rate", "goal", "p50 ms", "p99 ms", "broker CPU", "client CPU"):
        table.add_column(name, justify="left" if name == "load" else "right", no_wrap=True)
    table.add_column("changed settings", overflow="fold")
    for row in rows:
        goal = f"{row['goal']:,}" if row["goal"] else ""
        goal = f"{row['goal_ms']:g} ms" if row["goal_ms"] else goal
        p50 = "" if row["p50_ms"] is None else f"{row['p50_ms']:.2f}"
        p99 = "" if row["p99_ms"] is None else f"{row['p99_ms']:.2f}"
        changed = ", ".join(f"{key.partition('.')[2]}={v}" for key, v in row["settings"].items())
        cpu = (f"{row['broker_us']:.0f} us", f"{row['client_us']:.0f} us")
        rate = f"{row['rate']:,.0f} {row['unit']}"
        table.add_row(row["load"], rate, goal, p50, p99, *cpu, changed or "none")
    return table


if __name__ == "__main__":
    main()
