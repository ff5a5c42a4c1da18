"""`taskq broker`: the same as `tq-broker`."""

from __future__ import annotations

import click

from taskq.cli.command import Command
from taskq.cli.process import require_broker


@click.command(
    "broker",
    cls=Command,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def broker_command(arguments: tuple[str, ...]) -> None:
    """Run a node from a configuration file (the same as tq-broker).

    taskq broker --config FILE
    """
    require_broker("broker")
    from cluster.node import main

    main(args=list(arguments), prog_name="taskq broker")
