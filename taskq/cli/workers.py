"""`taskq workers`: a list."""

from __future__ import annotations

import click

from taskq.cli.command import Command, cluster_options, connected
from taskq.cli.output import note, print_json, show, table
from taskq.cli.quantity import date_text, duration_text, size_text


@click.command("workers", cls=Command)
@cluster_options
def workers_command(url: str | None, request_timeout: float, as_json: bool) -> None:
    """List workers with what they run, the busiest first."""
    with connected(url, request_timeout) as client:
        workers = sorted(client.workers(), key=lambda one: (-one.leased, one.name, one.id))
    if as_json:
        print_json({"workers": workers})
        return
    if not workers:
        note("No workers: taskq worker MODULE:FUNCTION --queue NAME starts one.")
        return
    rows = [
        (
            worker.name,
            worker.id,
            worker.concurrency,
            worker.leased,
            # Nothing is known before the first heartbeat.
            f"{worker.cpu:.0f} %" if worker.memory_size else "",
            size_text(worker.memory_size) if worker.memory_size else "",
            f"{duration_text(round(worker.seen, 1))} ago",
            date_text(worker.registered_at),
        )
        for worker in workers
    ]
    columns = ("worker", "id", "slots", "running", "CPU", "memory", "seen", "registered")
    numbers = ("slots", "running", "CPU", "memory", "seen")
    show(table("Workers", columns, rows, numbers=numbers, keep=("worker",)))
