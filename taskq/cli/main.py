"""The command `taskq`: which commands there are, and how the whole ends."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from taskq.cli import exits
from taskq.cli.command import report
from taskq.cli.output import debugging, note, print_json_line
from taskq.cli.version import version_text

# By headings of `taskq --help`; each name with the module that holds its command.
SECTIONS: dict[str, dict[str, str]] = {
    "Try it": {"demo": "demo", "up": "up"},
    "Tasks": {
        "submit": "submit",
        "status": "task",
        "result": "task",
        "cancel": "task",
        "tasks": "tasks",
    },
    "Queues": {"stats": "stats", "queues": "queues", "workers": "workers", "dead": "dead"},
    "Cluster": {"cluster": "cluster", "top": "top", "backup": "backup"},
    "Processes": {
        "worker": "worker",
        "broker": "broker",
        "config": "config",
        "keys": "keys",
        "certs": "certs",
        "repair": "repair",
    },
    "Shell": {"completion": "completion"},
}

_MODULES = {name: module for section in SECTIONS.values() for name, module in section.items()}


class TaskqGroup(click.Group):
    """Loads a command when it is asked for, so that each starts fast; lists them by section."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help page."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None. The function or group has the name of the command."""
        if cmd_name not in _MODULES:
            return None
        module = importlib.import_module(f"taskq.cli.{_MODULES[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; names the nearest one where there is none."""
        import difflib

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], _MODULES, 1)
            if not near or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands under their headings."""
        for heading, names in SECTIONS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                assert command is not None, name
                rows.append((name, command.get_short_help_str(limit=80)))
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=12)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Exit codes and environment."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), about) for code, about in exits.ABOUT])
        with formatter.section("Environment"):
            formatter.write_dl(
                [
                    (
                        "TASKQ_URL",
                        "where the cluster is; keeps the key out of the list of processes",
                    ),
                    ("TASKQ_API_KEY", "the key, where the url has none; @FILE reads it from FILE"),
                    ("TASKQ_CA_FILE", "for taskqs://, the authority of the nodes' certificates"),
                    ("TASKQ_CERT_FILE, TASKQ_KEY_FILE", "our own, where nodes demand one"),
                    ("TASKQ_DEBUG", "1 shows tracebacks of errors"),
                    ("NO_COLOR", "1 switches colours off"),
                ]
            )


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(version_text())
        ctx.exit()


@click.group(
    cls=TaskqGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the versions of package, protocol and storage format.",
)
def cli() -> None:
    """A task queue that needs no database.

    Start with `taskq demo`, which runs everything once, or with `taskq up`, which starts a broker
    on this machine.
    """


def run(arguments: Sequence[str]) -> int:
    """Runs the command line; its exit code."""
    try:
        outcome: Any = cli.main(args=list(arguments), prog_name="taskq", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        note("")
        return exits.INTERRUPTED
    except click.ClickException as error:
        error.show()
        if "--json" in arguments:
            document = {"kind": "UsageError", "message": error.format_message()}
            print_json_line({"error": document | {"exit": error.exit_code}})
        return error.exit_code
    except KeyboardInterrupt:
        note("")
        return exits.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - outermost: told in one sentence
        if debugging():
            note(traceback.format_exc())
        return report(error, as_json=False)
    return outcome if isinstance(outcome, int) else exits.OK


def main() -> None:
    """The entry point `taskq`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us: nobody wants to read it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - to the end
    sys.exit(run(sys.argv[1:]))
