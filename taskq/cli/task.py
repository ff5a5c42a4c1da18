"""`taskq status`, `taskq result`, `taskq cancel`: one task by its id."""

from __future__ import annotations

import base64
import sys
from typing import Any
from uuid import UUID

import click

from taskq.cli import exits
from taskq.cli.command import (
    DURATION,
    Command,
    Failure,
    cluster_options,
    concerns,
    connected,
    for_each,
)
from taskq.cli.output import note, print_json, print_text, show, state_text, to_json
from taskq.cli.quantity import count_text, date_text, duration_text, moment_text, size_text
from taskq.client import Client
from taskq.client.views import TaskStatus, outcome_of
from taskq.commands import QueryStatus
from taskq.limits import TIER_HIGH_MIN, TIER_NORMAL_MIN
from taskq.results import FINAL_STATES, TaskState


def tier_text(priority: int) -> str:
    """A priority with the name of its tier."""
    if priority >= TIER_HIGH_MIN:
        return f"{priority} (high)"
    return f"{priority} ({'normal' if priority >= TIER_NORMAL_MIN else 'low'})"


def show_status(status: TaskStatus) -> None:
    """A task as two tables: what it is, and its attempts."""
    from taskq.cli.table import pairs, table

    state = state_text(status.state.name.lower())
    if status.cancel_requested and not status.finished:
        state.append("  (cancellation requested)", style="magenta")
    due = None if status.finished or status.due_at == status.submitted_at else status.due_at
    ran = ""
    if status.started_at and status.ended_at:
        ran = duration_text((status.ended_at - status.started_at).total_seconds())
    shown = [
        ("state", state),
        ("reason", status.reason),
        ("queue", status.queue),
        ("name", status.name),
        ("priority", tier_text(status.priority)),
        ("payload", size_text(status.size)),
        ("headers", ", ".join(f"{name}={value}" for name, value in status.headers.items())),
        ("submitted", date_text(status.submitted_at)),
        ("due", date_text(due)),
        ("started", date_text(status.started_at)),
        ("ended", date_text(status.ended_at)),
        ("ran for", ran),
        ("attempt", f"{status.attempt}" if status.attempt else "none yet"),
        ("retries", f"{status.retries} of {status.max_retries}"),
        ("lost leases", count_text(status.lease_expiries) if status.lease_expiries else ""),
        ("worker", status.worker),
        ("result", "yes: taskq result " + str(status.id) if status.has_result else ""),
    ]
    parts: list[Any] = [pairs(f"Task {status.id}", shown)]
    if status.attempts:
        rows = [
            (
                attempt.number,
                attempt.outcome,
                moment_text(attempt.started_at),
                duration_text((attempt.ended_at - attempt.started_at).total_seconds())
                if attempt.ended_at and attempt.started_at
                else "",
                attempt.worker,
                attempt.error.rstrip().rpartition("\n")[2],
            )
            for attempt in status.attempts
        ]
        columns = ("#", "outcome", "started", "ran for", "worker", "error")
        parts += ["", table("Attempts", columns, rows, numbers=("#", "started", "ran for"))]
    if not status.finished or status.state.name == "DEAD":
        last = status.attempts[-1].error.strip() if status.attempts else ""
        if "\n" in last:
            from rich.text import Text

            parts += [Text("Last error", style="bold"), last]
    show(*parts)


@click.command("status", cls=Command)
@click.argument("task_id", metavar="ID", type=click.UUID)
@cluster_options
def status_command(task_id: UUID, url: str | None, request_timeout: float, as_json: bool) -> None:
    """Show all that is known of a task."""
    with connected(url, request_timeout) as client:
        status = client.status(task_id)
    if as_json:
        print_json(task_document(status))
    else:
        show_status(status)


def task_document(status: TaskStatus) -> dict[str, Any]:
    """A task for `--json`: all but the result, which `taskq result` writes."""
    document: dict[str, Any] = to_json(status)
    del document["result"]
    return document


def wait_for_result(client: Client, task_id: UUID, timeout: float | None) -> bytes | None:
    """The result of a task. Raises Failure with the exit code for a wait that was too short."""
    try:
        return client.result(task_id, timeout=timeout)
    except TimeoutError:
        text = f"Task {task_id} has not ended within {duration_text(timeout or 0)}."
        raise Failure(text, exits.TIMED_OUT) from None


def result_now(client: Client, task_id: UUID) -> bytes | None:
    """The result of a task that has ended. Raises Failure for one that has not."""
    view = client.call(QueryStatus(task_id.bytes))
    if view.state not in FINAL_STATES:
        state = TaskState(view.state).name.lower()
        text = f"Task {task_id} has not ended, it is {state}; --wait waits for it."
        raise Failure(text, exits.TIMED_OUT)
    return outcome_of(view)


def result_document(task_id: UUID, result: bytes | None) -> dict[str, Any]:
    """A result for `--json`: as text where it is UTF-8, and always as base64."""
    text: str | None = None
    if result is not None:
        try:
            text = result.decode()
        except UnicodeDecodeError:
            text = None
    encoded = None if result is None else base64.b64encode(result).decode()
    return {"id": task_id, "state": "completed", "result": text, "result_base64": encoded}


def write_result(result: bytes | None) -> None:
    """The bytes of a result as they are; on a terminal as text, with a line end for the prompt's
    sake."""
    if result is None:
        note("The task completed without a result.")
    elif sys.stdout.isatty():
        print_text(result.decode(errors="backslashreplace").removesuffix("\n"))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(result)
        sys.stdout.buffer.flush()


@click.command("result", cls=Command)
@click.argument("task_id", metavar="ID", type=click.UUID)
@click.option("--wait", is_flag=True, help="Wait for the task to end.")
@click.option("--timeout", type=DURATION, help="Wait, but at most this long, e.g. 30s.")
@cluster_options
def result_command(
    task_id: UUID,
    wait: bool,
    timeout: float | None,
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """Write the result of a task to standard output.

    A task that failed: its error on standard error, exit code 1. One that has not ended: exit
    code 5.
    """
    concerns(task_id)
    with connected(url, request_timeout) as client:
        if timeout is None and wait:
            client.ping()  # to wait without end, somebody must be there
        if wait or timeout is not None:
            result = wait_for_result(client, task_id, timeout)
        else:
            result = result_now(client, task_id)
    if as_json:
        print_json(result_document(task_id, result))
    else:
        write_result(result)


@click.command("cancel", cls=Command)
@click.argument("task_ids", metavar="ID...", type=click.UUID, nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Do not wait for the worker: take the lease at once.")
@cluster_options
@click.pass_context
def cancel_command(
    ctx: click.Context,
    task_ids: tuple[UUID, ...],
    force: bool,
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """Cancel tasks.

    A waiting task is cancelled at once. A running one is asked to stop; should it complete all
    the same, its result counts. --force cancels at once, and what the run still brings is refused.
    """
    with connected(url, request_timeout) as client:

        def cancel(task_id: UUID) -> dict[str, Any]:
            answer = client.cancel(task_id, force=force)
            state = answer.state.name.lower()
            return {"id": task_id, "state": state, "requested": answer.requested}

        answers, errors, code = for_each(task_ids, cancel)
    # Told at the end: a reader that goes away must not keep the last tasks from being cancelled.
    if as_json:
        print_json({"tasks": answers, "errors": errors})
    else:
        for told in answers:
            asked = "; its worker was asked to stop" if told["requested"] else ""
            print_text(f"{told['id']} {told['state']}{asked}")
    ctx.exit(code)
