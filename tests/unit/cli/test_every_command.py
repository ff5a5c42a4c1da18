"""What every command has: `--json`, `TASKQ_URL` where it talks to a cluster, a help page; and that
shells can complete all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from taskq.cli.completion import PROGRAM, SHELLS, VARIABLE
from taskq.cli.main import cli
from taskq.errors import ConnectionFailed
from taskq.results import QueuePage, QueueView

# All options are those of tq-broker; its log is JSON by `monitoring.json_logging`.
WITHOUT_JSON = {"broker"}
# They need no cluster: they start one, or look at files.
WITHOUT_CLUSTER = {
    "backup restore",
    "backup verify",
    "cluster examine",
    "cluster recover",
    "broker",
    "certs init",
    "certs show",
    "completion",
    "config",
    "demo",
    "keys create",
    "keys hash",
    "repair",
    "up",
}


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


ALL = dict(commands(cli))


def test_the_commands_are_known() -> None:
    assert {"dead show", "queues purge", "result", "top", "workers", "cluster status"} <= set(ALL)


@pytest.mark.parametrize("name", sorted(set(ALL) - WITHOUT_JSON))
def test_json(name: str) -> None:
    options = {option for parameter in ALL[name].params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("name", sorted(set(ALL) - WITHOUT_CLUSTER))
def test_url(name: str) -> None:
    (url,) = [parameter for parameter in ALL[name].params if parameter.name == "url"]
    assert url.envvar == "TASKQ_URL"


@pytest.mark.parametrize("name", sorted(set(ALL) - {"broker"}))
def test_help(name: str, taskq: Any) -> None:
    outcome = taskq(*name.split(), "--help")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.startswith(f"Usage: taskq {name}")
    assert ALL[name].help


# --- completion -----------------------------------------------------------------------------------


def completed(*words: str) -> list[str]:
    """What a shell proposes for the last of the words."""
    *before, incomplete = words
    shell = ShellComplete(cli, {}, PROGRAM, VARIABLE)
    return [item.value for item in shell.get_completions(before, incomplete)]


def test_commands_and_options_are_completed() -> None:
    assert completed("que") == ["queues"]
    assert completed("queues", "p") == ["pause", "purge"]
    assert "--wait" in completed("result", "--")
    assert completed("tasks", "--state", "re") == ["ready", "retrying"]


@pytest.mark.parametrize(
    "words",
    [
        ["submit"],
        ["queues", "pause"],
        ["queues", "resume"],
        ["queues", "purge"],
        ["queues", "delete"],
        ["tasks", "--queue"],
        ["dead", "list", "--queue"],
        ["dead", "redrive", "--queue"],
        ["dead", "delete", "--queue"],
    ],
)
def test_names_of_queues_are_completed(words: list[str], fake: Any) -> None:
    names = ("mails", "mails.slow", "media")
    views = [QueueView(name, False, 0, 0, 0, 0, 0, 0, 0, 0, 0) for name in names]
    fake.answers["call"] = QueuePage(views, None)
    assert completed(*words, "mai") == ["mails", "mails.slow"]
    (_, (asked,), _) = fake.calls[0]
    assert asked.after == b"ma"


def test_nothing_is_proposed_where_no_node_answers(fake: Any) -> None:
    fake.answers["call"] = ConnectionFailed("nobody there")
    assert completed("submit", "m") == []
    assert fake.made[0][1] <= 1, "a key was pressed: nobody waits for seconds"


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_call_the_program_when_a_key_is_pressed(shell: str, taskq: Any) -> None:
    script = taskq("completion", shell).stdout
    assert f"{VARIABLE}={shell}_complete" in script
    assert json.loads(taskq("completion", shell, "--json").stdout)["script"] == script.strip()


def test_an_unknown_shell_names_the_known_ones(taskq: Any) -> None:
    outcome = taskq("completion", "tcsh")
    assert outcome.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in outcome.stderr
