"""`taskq stats`: counts over the whole cluster."""

from __future__ import annotations

from typing import Any

import click

from taskq.cli.command import Command, cluster_options, connected
from taskq.cli.output import print_json, show, state_text
from taskq.cli.quantity import count_text, duration_text, size_text
from taskq.cli.queues import queue_rows
from taskq.cli.workers import busiest_first, worker_rows
from taskq.client.moment import datetime_of
from taskq.client.views import QueueStatus, WorkerStatus
from taskq.limits import DURATION_BUCKETS_MS
from taskq.results import Stats


def stats_document(
    stats: Stats, queues: list[QueueStatus], workers: list[WorkerStatus]
) -> dict[str, Any]:
    """For `--json`: the counts, with the queues and workers in place of their numbers; times as
    everywhere on the command line."""
    document = stats._asdict()
    document["duration_sum"] = document.pop("duration_sum_ms") / 1000
    document["cluster_time"] = document.pop("elapsed_ms") / 1000
    document["wall_at"] = datetime_of(document.pop("wall_ms"))
    bounds = [bound / 1000 for bound in DURATION_BUCKETS_MS]
    document["durations"] = [
        {"up_to_secs": bound, "count": count}
        for bound, count in zip([*bounds, None], stats.durations, strict=False)
    ]
    document["queue_count"], document["queues"] = stats.queues, queues
    document["worker_count"], document["workers"] = stats.workers, workers
    return document


@click.command("stats", cls=Command)
@cluster_options
def stats_command(url: str | None, request_timeout: float, as_json: bool) -> None:
    """Show counts by state, queues and workers."""
    with connected(url, request_timeout) as client:
        stats, queues, workers = client.stats(), client.queues(), client.workers()
    workers = busiest_first(workers)
    if as_json:
        print_json(stats_document(stats, queues, workers))
        return
    from taskq.cli.table import pairs, side_by_side, table

    # A key for some queues is told what is counted by queue; the rest is not there.
    limited = not stats.totals
    ran = sum(stats.durations)
    cluster = [
        ("leader", stats.leader or "none"),
        ("asked", f"{stats.node_id}, term {stats.term}, entry {count_text(stats.applied_index)}"),
        ("cluster time", duration_text(stats.elapsed_ms / 1000)),
    ]
    if not limited:
        cluster += [
            ("waiting", size_text(stats.waiting_size)),
            ("finished", size_text(stats.finished_size)),
            ("dead", size_text(stats.dead_size)),
            ("mean run", duration_text(stats.duration_sum_ms / 1000 / ran) if ran else ""),
        ]
    states = [(state_text(name), count_text(count)) for name, count in stats.states.items()]
    totals = [(name.replace("_", " "), count_text(count)) for name, count in stats.totals.items()]
    title = "Own tasks" if limited else "Tasks by state"
    tables = [table(title, ("state", "now"), states, numbers=("now",))]
    if not limited:
        columns = ("count", "total")
        tables.append(table("Since the beginning", columns, totals, numbers=("total",)))
    parts: list[Any] = [pairs("Cluster", cluster), "", side_by_side(*tables)]
    if queues:
        parts.append(queue_rows("Queues", queues))
    if workers:
        parts.append(worker_rows(workers))
    show(*parts)
