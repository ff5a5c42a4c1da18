"""`taskq dead`: list, show, redrive, delete dead letters."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from taskq.cli import exits
from taskq.cli.command import CommandGroup, Failure, cluster_options, connected
from taskq.cli.completion import queue_names
from taskq.cli.output import ask, note, print_json, print_text, show
from taskq.cli.quantity import age_text, counted, moment_text
from taskq.cli.task import show_status, task_document
from taskq.client import Client
from taskq.client.views import TaskStatus
from taskq.errors import TaskqError
from taskq.results import TaskState

# Ids in one request: bounds what one entry of the log does.
CHUNK_COUNT = 500


@click.group("dead", cls=CommandGroup)
def dead_command() -> None:
    """List, show, redrive and delete dead tasks."""


@dead_command.command("list")
@click.option("--queue", help="Only those of this queue.", shell_complete=queue_names)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@cluster_options
def list_dead(
    queue: str | None, limit: int, url: str | None, request_timeout: float, as_json: bool
) -> None:
    """Show dead tasks with the reason, those that died first first."""
    with connected(url, request_timeout) as client:
        found = list(client.dead(queue=queue, limit=limit + 1))
    more, found = len(found) > limit, found[:limit]
    if as_json:
        print_json({"tasks": [task_document(task) for task in found], "more": more})
        return
    from taskq.cli.table import table

    if not found:
        note("No dead tasks.")
        return
    rows = [
        (
            task.id,
            task.queue,
            task.name,
            task.attempt,
            moment_text(task.ended_at),
            age_text(task.ended_at),
            (task.error.rstrip().rpartition("\n")[2] or task.reason),
        )
        for task in found
    ]
    columns = ("id", "queue", "name", "attempts", "died", "ago", "reason")
    spare = ("died", "attempts", "ago", "name")
    numbers = ("attempts", "died", "ago")
    show(table("Dead tasks", columns, rows, numbers=numbers, keep=("id",), spare=spare))
    if more:
        note(f"There are more: --limit {limit * 10} shows up to {limit * 10}.")


@dead_command.command("show")
@click.argument("task_id", metavar="ID", type=click.UUID)
@cluster_options
def show_dead(task_id: UUID, url: str | None, request_timeout: float, as_json: bool) -> None:
    """Show why a task is dead: its attempts, and the whole error text of each."""
    with connected(url, request_timeout) as client:
        status = client.status(task_id)
    if status.state is not TaskState.DEAD:
        text = f"Task {task_id} is not dead, it is {status.state.name.lower()}"
        raise Failure(f"{text}; taskq status {task_id} shows it.")
    if as_json:
        print_json(task_document(status))
        return
    show_status(status)
    _show_earlier_errors(status)


def _show_earlier_errors(status: TaskStatus) -> None:
    """Those that the table of attempts has cut; `show_status` ends with the last one."""
    from rich.text import Text

    for attempt in reversed(status.attempts[:-1]):
        if "\n" in attempt.error.strip():
            title = Text(f"Error of attempt {attempt.number}", style="bold")
            show(title, attempt.error.strip())


@dead_command.command("redrive")
@click.argument("task_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@click.option("--queue", help="All dead tasks of this queue.", shell_complete=queue_names)
@click.option("--all", "every", is_flag=True, help="All dead tasks.")
@cluster_options
@click.pass_context
def redrive_dead(
    ctx: click.Context,
    task_ids: tuple[UUID, ...],
    queue: str | None,
    every: bool,
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """Make dead tasks ready again: same id, counters at zero, history kept."""
    with connected(url, request_timeout) as client:
        wanted = _chosen(client, task_ids, queue, every)
        answers = _in_chunks(client.redrive, wanted)
    ctx.exit(_tell("redriven", wanted, answers, as_json))


@dead_command.command("delete")
@click.argument("task_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@click.option("--queue", help="All dead tasks of this queue.", shell_complete=queue_names)
@click.option("--all", "every", is_flag=True, help="All dead tasks.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
@click.pass_context
def delete_dead(
    ctx: click.Context,
    task_ids: tuple[UUID, ...],
    queue: str | None,
    every: bool,
    yes: bool,
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """Delete dead tasks for good."""
    with connected(url, request_timeout) as client:
        wanted = _chosen(client, task_ids, queue, every)
        if wanted and not yes and not ask(f"Delete {counted(len(wanted), 'dead task')}?"):
            raise Failure("Nothing was deleted; --yes deletes without asking.")
        answers = _in_chunks(client.delete_dead, wanted)
    ctx.exit(_tell("deleted", wanted, answers, as_json))


def _chosen(
    client: Client, task_ids: tuple[UUID, ...], queue: str | None, every: bool
) -> list[UUID]:
    if sum([bool(task_ids), queue is not None, every]) != 1:
        raise click.UsageError("Name tasks by their ids, or by --queue NAME, or by --all.")
    if task_ids:
        return list(task_ids)
    return [task.id for task in client.dead(queue=queue)]


def _in_chunks(request: Any, wanted: list[UUID]) -> list[TaskqError | None]:
    answers: list[TaskqError | None] = []
    for first in range(0, len(wanted), CHUNK_COUNT):
        answers += request(wanted[first : first + CHUNK_COUNT])
    return answers


def _tell(what: str, wanted: list[UUID], answers: list[TaskqError | None], as_json: bool) -> int:
    refused = {
        task_id: error for task_id, error in zip(wanted, answers, strict=True) if error is not None
    }
    done = len(wanted) - len(refused)
    if as_json:
        errors = {task_id: str(error) for task_id, error in refused.items()}
        print_json({what: done, "errors": errors})
    else:
        print_text(f"{counted(done, 'task')} {what}.")
    for task_id, error in refused.items():
        note(f"{task_id}: {error}")
    return exits.FAILED if refused else exits.OK
