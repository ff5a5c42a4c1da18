"""`taskq workers`: a list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from taskq.cli.command import Command, cluster_options, connected
from taskq.cli.output import note, print_json, show
from taskq.cli.quantity import duration_text, moment_text, size_text
from taskq.client.views import WorkerStatus


@click.command("workers", cls=Command)
@cluster_options
def workers_command(url: str | None, request_timeout: float, as_json: bool) -> None:
    """List workers with what they run, the busiest first."""
    with connected(url, request_timeout) as client:
        workers = busiest_first(client.workers())
    if as_json:
        print_json({"workers": workers})
    elif workers:
        show(worker_rows(workers))
    else:
        note("No workers: taskq worker MODULE:FUNCTION --queue NAME starts one.")


def busiest_first(workers: Iterable[WorkerStatus]) -> list[WorkerStatus]:
    """Those with most tasks in hand first, then by name."""
    return sorted(workers, key=lambda one: (-one.leased, one.name, one.id))


def worker_rows(workers: Iterable[WorkerStatus]) -> Any:
    """A table of workers."""
    from taskq.cli.table import table

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
            moment_text(worker.registered_at),
        )
        for worker in workers
    ]
    columns = ("worker", "id", "slots", "running", "CPU", "memory", "seen", "registered")
    numbers = ("slots", "running", "CPU", "memory", "seen", "registered")
    spare = ("registered", "id", "memory", "CPU", "slots")
    return table("Workers", columns, rows, numbers=numbers, keep=("id",), spare=spare)
