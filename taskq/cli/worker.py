"""`taskq worker`: runs the tasks of an app, or a function for each task of a queue."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import click
from click.core import ParameterSource

from taskq.cli import exits
from taskq.cli.command import DURATION, URL_VARIABLE, Command, url_option
from taskq.cli.output import json_text, note, print_json_line
from taskq.visible import visible
from taskq.worker.executor import EXECUTORS
from taskq.worker.target import WorkerError
from taskq.worker.worker import Worker


@click.command("worker", cls=Command)
@click.argument("tasks", metavar="MODULE:APP")
@click.option("--queue", "queues", multiple=True,
              help="Queue to work for; repeatable, in this order. Default: the app's.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True,
              envvar="TASKQ_WORKER__CONCURRENCY", help="Tasks at a time.")  # fmt: skip
@click.option("--prefetch", type=click.IntRange(0),
              help="Tasks claimed beyond those. Default: as many as short tasks need.")  # fmt: skip
@click.option("--executor", type=click.Choice(EXECUTORS), default="auto", show_default=True,
              help="auto: a process for each slot, or one loop where all is async.")  # fmt: skip
@click.option("--name", help="Shown in lists; default: host and process.")
@click.option("--lease", type=DURATION, help="Default: the queue's own.")
@click.option("--heartbeat-interval", type=DURATION, default="15s", show_default=True,
              envvar="TASKQ_WORKER__HEARTBEAT_INTERVAL_SECS")  # fmt: skip
@click.option("--graceful-shutdown-timeout", type=DURATION, default="60s", show_default=True,
              envvar="TASKQ_WORKER__GRACEFUL_SHUTDOWN_TIMEOUT_SECS",
              help="How long running tasks may take to end when it stops.")  # fmt: skip
@click.option("--max-inactivity", type=DURATION, default="60s", show_default=True,
              envvar="TASKQ_WORKER__MAX_INACTIVITY_SECS",
              help="Without contact with the cluster for so long it gives up.")  # fmt: skip
@click.option("--cancel-grace", type=DURATION, default="5s", show_default=True,
              help="How long a cancelled run may take to stop before it is made to.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
              default="info", show_default=True)  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="The log as JSON, a line for each record; at the end the counts.")  # fmt: skip
@url_option
@click.pass_context
def worker_command(
    ctx: click.Context,
    /,
    tasks: str,
    queues: tuple[str, ...],
    url: str | None,
    log_level: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Run the tasks of an app, or one function for each task of a queue.

    A function gets the arguments that the task was submitted with, and what it returns is the
    result. An exception fails the task, which is then retried. At least once: it may run twice.

    The first Ctrl-C (or SIGTERM) waits for running tasks, the second gives them back at once.

    \b
    taskq worker shop:app --concurrency 8
    taskq worker tasks:send_mail --queue mails
    """
    _prepare(ctx, url)
    _log(log_level, as_json)
    try:
        worker = Worker(_url_of(ctx, url), tasks, queues, **options)
    except WorkerError as error:
        raise click.UsageError(str(error)) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--url / {URL_VARIABLE}") from None
    worker.run()
    counts = {name: worker.counts[name] for name in ("completed", "failed", "dropped")}
    if as_json:
        print_json_line(counts)
    else:
        note(
            f"Worker ended: {counts['completed']} completed, {counts['failed']} failed, "
            f"{counts['dropped']} dropped."
        )
    raise click.exceptions.Exit(exits.OK)


def _prepare(ctx: click.Context, url: str | None) -> None:
    """What the process needs before the user's modules are loaded."""
    # Last, not first: a file of the user's may have the name of a package.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    if url is not None and _on_command_line(ctx):
        # For tasks that submit tasks, here and in pool processes.
        os.environ[URL_VARIABLE] = url


def _log(level: str, as_json: bool) -> None:
    """Where the log goes (standard error), and as what."""
    logging.basicConfig(level=level.upper(), handlers=[log_handler(as_json, sys.stderr)])


def log_handler(as_json: bool, stream: TextIO) -> logging.Handler:
    """Writes records to `stream`, as JSON or as text for people."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    return handler


class TextLines(logging.Formatter):
    """A record of the log as a line for people, the traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Lines that do not steer a terminal."""
        return visible(super().format(record))


class JsonLines(logging.Formatter):
    """A record of the log as {"time", "level", "message"}, with the traceback as "error"."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return json_text(document)


def _url_of(ctx: click.Context, url: str | None) -> str | None:
    """What was written on the command line comes before the app's own URL, the variable after."""
    return url if _on_command_line(ctx) else None


def _on_command_line(ctx: click.Context) -> bool:
    return ctx.get_parameter_source("url") is ParameterSource.COMMANDLINE
