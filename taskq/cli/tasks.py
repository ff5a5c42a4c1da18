"""`taskq tasks`: a list."""

from __future__ import annotations

import click

from taskq.cli.command import Command, cluster_options, connected
from taskq.cli.completion import queue_names
from taskq.cli.output import note, print_json, show, state_text
from taskq.cli.quantity import age_text, moment_text
from taskq.cli.task import task_document
from taskq.results import TaskState

STATES = [state.name.lower() for state in TaskState]


@click.command("tasks", cls=Command)
@click.option("--queue", help="Only those of this queue.", shell_complete=queue_names)
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@cluster_options
def tasks_command(
    queue: str | None,
    state: str | None,
    limit: int,
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """List tasks, oldest first."""
    with connected(url, request_timeout) as client:
        # One more than shown tells whether there are more.
        found = list(client.tasks(queue=queue, state=state, limit=limit + 1))
    more, found = len(found) > limit, found[:limit]
    if as_json:
        print_json({"tasks": [task_document(task) for task in found], "more": more})
        return
    from taskq.cli.table import table

    if not found:
        note("No tasks.")
        return
    rows = [
        (
            task.id,
            state_text(task.state.name.lower()),
            task.queue,
            task.name,
            task.priority,
            task.attempt,
            moment_text(task.submitted_at),
            age_text(task.submitted_at),
        )
        for task in found
    ]
    columns = ("id", "state", "queue", "name", "priority", "attempt", "submitted", "age")
    numbers = ("priority", "attempt", "submitted", "age")
    spare = ("submitted", "priority", "attempt", "age", "name")
    show(table("Tasks", columns, rows, numbers=numbers, keep=("id", "state"), spare=spare))
    if more:
        note(f"There are more: --limit {limit * 10} shows up to {limit * 10}.")
