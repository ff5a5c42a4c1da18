"""`taskq up`: a broker on this machine, in front, until Ctrl-C."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import click

from taskq.cli import exits
from taskq.cli.command import Command, Failure
from taskq.cli.output import note, print_text
from taskq.cli.process import Broker, is_free, require_broker
from taskq.cli.stopping import Interrupted, StopSignals

PORT_DEFAULT = 6379
MONITORING_PORT_DEFAULT = 9091


def choose_port(wanted: int | None) -> int:
    """The port to serve on; 0 for any free one where the default is busy."""
    if wanted is not None:
        if wanted and not is_free(wanted):
            raise Failure(f"Port {wanted} is in use by another program; --port names another one.")
        return wanted
    if is_free(PORT_DEFAULT):
        return PORT_DEFAULT
    note(f"Port {PORT_DEFAULT} is in use by another program; taking a free one (--port names one).")
    return 0


@click.command("up", cls=Command)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder that keeps the tasks.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 6379, or a free one.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info"
)
@click.pass_context
def up_command(ctx: click.Context, data: Path, port: int | None, log_level: str) -> None:
    """Start a broker on this machine; Ctrl-C stops it.

    It listens on 127.0.0.1 only and keeps what it is given in the folder --data.
    """
    require_broker("up")
    chosen = choose_port(port)
    monitoring = MONITORING_PORT_DEFAULT if is_free(MONITORING_PORT_DEFAULT) else 0
    with StopSignals() as stops, contextlib.ExitStack() as ends:
        ends.callback(stops.ignore)
        try:
            with stops.held():
                folder = tempfile.TemporaryDirectory(prefix="taskq-up-")
                scratch = Path(ends.enter_context(folder))
                broker = Broker(
                    data, scratch, chosen, log_level=log_level, monitoring_port=monitoring
                )
                ends.callback(broker.stop)
            served = broker.wait_ready()
            print_text(f"Broker on {served['broker']}, tasks in {data}. Ctrl-C stops it.")
            if served["monitoring"]:
                print_text(f"Metrics: http://{served['monitoring']}/metrics")
            print_text(f"In another terminal: export TASKQ_URL={broker.url}")
            code = broker.wait()
            note(f"The broker ended by itself (exit {code}).")
            ctx.exit(exits.FAILED)
        except Interrupted:
            note("\nStopping the broker ...")
