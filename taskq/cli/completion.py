"""Completion in shells: `taskq completion`, and the values that only the cluster knows."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from taskq.cli.command import Command, connected, json_option
from taskq.cli.output import print_json, print_text
from taskq.commands import ListQueues
from taskq.errors import TaskqError

PROGRAM = "taskq"
# Click looks for this variable; its name follows from that of the program.
VARIABLE = "_TASKQ_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
# A key was pressed: rather no proposals than a wait.
PATIENCE_SECS = 0.5
QUEUE_COUNT_MAX = 500


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@json_option
def completion_command(shell: str, as_json: bool) -> None:
    """Print a script that makes a shell complete commands.

    It completes options, states and names of queues, too.

    \b
    bash   echo 'eval "$(taskq completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(taskq completion zsh)"' >> ~/.zshrc    (after compinit)
    fish   taskq completion fish > ~/.config/fish/completions/taskq.fish
    """
    script = script_for(shell)
    print_json({"shell": shell, "script": script}) if as_json else print_text(script)


def script_for(shell: str) -> str:
    """The script. It calls `taskq` when a key is pressed, so that it never gets out of date."""
    from taskq.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None, shell
    # Not `source()`: for bash that runs the bash on PATH first, which need not be the one in use.
    made = kind(cli, {}, PROGRAM, VARIABLE)
    return str(made.source_template % made.source_vars()).strip()


def queue_names(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of queues that begin so; none where no node answers at once."""
    url: Any = context.params.get("url")
    try:
        with connected(url, PATIENCE_SECS) as client:
            # From where names begin so, in one request.
            before = incomplete.encode()[:-1] or None
            page = client.call(ListQueues(after=before, limit=QUEUE_COUNT_MAX))
    except (TaskqError, click.UsageError):
        return []
    return [CompletionItem(one.name) for one in page.queues if one.name.startswith(incomplete)]
