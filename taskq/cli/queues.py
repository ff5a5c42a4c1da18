"""`taskq queues`: list, create, pause, resume, purge, delete."""

from __future__ import annotations

from typing import Any

import click

from taskq.cli.command import (
    DURATION,
    CommandGroup,
    Failure,
    cluster_options,
    connected,
    for_each,
)
from taskq.cli.completion import queue_names
from taskq.cli.output import ask, note, print_json, print_text, show
from taskq.cli.quantity import count_text, counted, duration_text
from taskq.client.views import QueueStatus


def queue_rows(title: str, queues: list[QueueStatus]) -> Any:
    """A table of queues with their depth by tier."""
    from taskq.cli.table import table

    counted = ("high", "normal", "low", "scheduled", "retrying", "running", "dead")
    rows = [
        (
            queue.name,
            "paused" if queue.paused else "",
            *(
                count_text(count)
                for count in (
                    queue.ready_high,
                    queue.ready_normal,
                    queue.ready_low,
                    queue.scheduled,
                    queue.retrying,
                    queue.leased,
                    queue.dead,
                )
            ),
            duration_text(queue.lease),
            duration_text(queue.ageing) if queue.ageing else "off",
        )
        for queue in queues
    ]
    columns = ("queue", "", *counted, "lease", "ageing")
    spare = ("ageing", "lease", "retrying", "scheduled", "low", "high")
    return table(title, columns, rows, numbers=(*counted, "lease", "ageing"), spare=spare)


@click.group("queues", cls=CommandGroup)
def queues_command() -> None:
    """List, create, pause, resume, purge and delete queues."""


@queues_command.command("list")
@cluster_options
def list_queues(url: str | None, request_timeout: float, as_json: bool) -> None:
    """Show all queues with their depth by tier."""
    with connected(url, request_timeout) as client:
        queues = client.queues()
    if as_json:
        print_json({"queues": queues})
    elif queues:
        show(queue_rows("Queues", queues))
    else:
        note("No queues yet: the first submit to one creates it.")


@queues_command.command("create")
@click.argument("name")
@click.option("--ageing", type=DURATION, default=0.0, help="What one step of priority is worth in"
              " waiting time; default: off.")  # fmt: skip
@click.option("--lease", type=DURATION, help="Lease of its tasks; default: the broker's.")
@cluster_options
def create_queue(
    name: str,
    ageing: float,
    lease: float | None,
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """Make a queue with settings of its own."""
    with connected(url, request_timeout) as client:
        client.create_queue(name, ageing=ageing, lease=lease)
    _done(as_json, name, "created")


@queues_command.command("pause")
@click.argument("name", shell_complete=queue_names)
@cluster_options
def pause_queue(name: str, url: str | None, request_timeout: float, as_json: bool) -> None:
    """Hand out no more tasks of a queue; running ones go on."""
    with connected(url, request_timeout) as client:
        client.pause_queue(name)
    _done(as_json, name, "paused")


@queues_command.command("resume")
@click.argument("name", shell_complete=queue_names)
@cluster_options
def resume_queue(name: str, url: str | None, request_timeout: float, as_json: bool) -> None:
    """Hand out tasks of a queue again."""
    with connected(url, request_timeout) as client:
        client.resume_queue(name)
    _done(as_json, name, "resumed")


@queues_command.command("purge")
@click.argument("name", shell_complete=queue_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def purge_queue(
    name: str, yes: bool, url: str | None, request_timeout: float, as_json: bool
) -> None:
    """Cancel all waiting and scheduled tasks of a queue; running ones go on."""
    with connected(url, request_timeout) as client:
        found = [queue for queue in client.queues() if queue.name == name]
        waiting = sum(queue.ready + queue.scheduled + queue.retrying for queue in found)
        if not yes and not ask(f"Cancel {counted(waiting, 'waiting task')} of {name}?"):
            raise Failure("Nothing was purged; --yes purges without asking.")
        count = client.purge_queue(name)
    _done(as_json, name, "purged", count=count)


@queues_command.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=queue_names)
@cluster_options
@click.pass_context
def delete_queues(
    ctx: click.Context,
    names: tuple[str, ...],
    url: str | None,
    request_timeout: float,
    as_json: bool,
) -> None:
    """Delete empty queues.

    A queue is empty when nothing waits, runs or is dead in it. Tasks that have ended stay known. A
    later submit makes the queue anew, without settings of its own.
    """
    with connected(url, request_timeout) as client:

        def delete(name: str) -> str:
            client.delete_queue(name)
            return name

        deleted, errors, code = for_each(names, delete)
    if as_json:
        print_json({"deleted": deleted, "errors": errors})
    else:
        for name in deleted:
            print_text(f"Queue {name} deleted.")
    ctx.exit(code)


def _done(as_json: bool, name: str, what: str, **more: Any) -> None:
    if as_json:
        print_json({"queue": name, "done": what, **more})
    else:
        counts = "".join(f", {counted(value, 'task')} cancelled" for value in more.values())
        print_text(f"Queue {name} {what}{counts}.")
