"""The tour of README.md, as it is written there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from taskq.cli.main import cli

README = Path(__file__).parents[3] / "README.md"


def block(text: str) -> str:
    """The fenced block of README.md that holds `text`."""
    found = [
        body for body in re.findall(r"```\w*\n(.*?)```", README.read_text(), re.S) if text in body
    ]
    assert len(found) == 1, text
    return str(found[0])


def test_the_tour_works(shell: Any, url: str) -> None:
    shell.environment["TASKQ_URL"] = url
    (shell.folder / "work.py").write_text(block("def greet"))
    (shell.folder / "producer.py").write_text(block("import json"))
    command = re.search(r"\$ taskq (worker .*)", block("taskq worker"))
    assert command is not None
    shell.start(*command[1].split())
    submitted = block("taskq submit")
    arguments = re.search(r"--json-args '(.*)' --wait\n(.*)\n", submitted)
    assert arguments is not None
    done = shell.run("submit", "greetings", "--json-args", arguments[1], "--wait")
    assert done.stdout == arguments[2]
    produced = subprocess.run(
        [sys.executable, "producer.py"],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert produced.returncode == 0, produced.stderr
    assert produced.stdout.splitlines()[1:] == ["['Hello, Bob']"]


def test_commands_of_the_tour_exist() -> None:
    for line in re.findall(r"^\$ taskq (.*?)(?: +#.*)?$", README.read_text(), re.M):
        words = [word for word in line.split() if word.islower() and not word.startswith("-")]
        group = words[:2] if words[0] in ("queues", "dead", "cluster") else words[:1]
        assert CliRunner().invoke(cli, [*group, "--help"]).exit_code == 0, line


def test_first_screen_says_what_matters() -> None:
    text = README.read_text()
    first_screen = "\n".join(text.splitlines()[:24])
    for words in ("make run", "make test", "At least once: your function may run twice;"):
        assert words in first_screen
    assert "exactly " + "once" not in text.lower()
