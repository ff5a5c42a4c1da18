"""`taskq config`: the values in effect, each with where it was set."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskq.cli.command import Command, Failure, json_option
from taskq.cli.output import note, print_json, print_text, show
from taskq.cli.process import require_broker

if TYPE_CHECKING:
    from cluster.config import Config


@click.command("config", cls=Command)
@click.option("--config", "path", type=click.Path(dir_okay=False, path_type=Path),
              help="Configuration file (YAML).")  # fmt: skip
@click.option("--example", is_flag=True, help="Print a file with every key, its default and use.")
@click.option("--check", is_flag=True, help="Only say whether the configuration can be used.")
@json_option
def config_command(path: Path | None, example: bool, check: bool, as_json: bool) -> None:
    """Show the configuration of a node: every value and where it was set.

    Read from the file, then from the environment (TASKQ_BROKER__PORT=7000). With --check the files
    of certificates are read as well: run it as the user, and in the folder, of the broker.
    """
    require_broker("config")
    from cluster.config import effective, load_config
    from cluster.config.page import example_yaml

    if example:
        print_text(example_yaml().rstrip("\n"))
        return
    config = load_config(path, os.environ, {})
    if check:
        _check_certificates(config)
    warnings = config.warnings()
    if as_json:
        settings = [] if check else [dataclasses.asdict(setting) for setting in effective(config)]
        print_json({"valid": True, "warnings": warnings, "settings": settings})
        return
    if check:
        print_text("The configuration can be used.")
    else:
        from rich.text import Text

        from taskq.cli.table import table

        rows = [
            (
                setting.path,
                Text(setting.value, style="" if setting.value == setting.default else "bold"),
                setting.unit,
                setting.source,
                Text(setting.note, style="yellow"),
            )
            for setting in effective(config)
        ]
        columns = ("key", "value", "unit", "set by", "")
        show(table("Configuration", columns, rows, keep=("key",), spare=("unit",)))
    for warning in warnings:
        note(f"Warning: {warning}")


def _check_certificates(config: Config) -> None:
    """Raises Failure where a node would not start with them, in its words."""
    from cluster.certificates.errors import CertificatesRefused
    from cluster.settings import api_certificates_of, group_of

    try:
        group_of(config)
        api_certificates_of(config)
    except CertificatesRefused as error:
        raise Failure(f"The certificates cannot be used: {error}") from error
