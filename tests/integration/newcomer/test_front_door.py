"""What a newcomer meets before anything is installed: `make`, and set-up that cannot go on.

The set-up itself needs the network and a minute: `.ci/run` in a fresh clone is its test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FRONT = ("Makefile", ".ci/setup", "pyproject.toml", "constraints.txt")
# What the set-up needs beside a Python.
TOOLS = ("awk", "cat", "dirname", "echo", "grep", "head", "make", "mkdir", "rm", "sh", "tail")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The front door alone, nothing set up; a space in the path, as people have them."""
    folder = tmp_path / "my clone"
    (folder / ".ci").mkdir(parents=True)
    for name in FRONT:
        shutil.copy(ROOT / name, folder / name)
    return folder


def make(clone: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    # Neither what the make that runs the tests hands on, nor its choice of a Python.
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFL"))}
    for name in ("PYTHON", "ONCE", "ARGS"):
        ours.pop(name, None)
    env = {**ours, "PATH": path or os.environ["PATH"]}
    return subprocess.run(
        ["make", *arguments], cwd=clone, env=env, capture_output=True, text=True, timeout=30
    )


def ready(clone: Path, where: Path) -> None:
    """As after a set-up in the folder `where`."""
    (clone / ".venv").mkdir()
    (clone / ".venv" / ".ready").write_text(f"{where}\n", "utf-8")


def test_make_alone_says_what_there_is(clone: Path) -> None:
    said = make(clone).stdout
    assert "make run" in said
    assert "make test" in said
    assert "PYTHON=" in said
    assert not (clone / ".venv").exists()


def test_a_python_that_is_none_is_named(clone: Path) -> None:
    done = make(clone, "run", "PYTHON=/nowhere/python3")
    assert done.returncode != 0
    assert "PYTHON=/nowhere/python3 does not start" in done.stderr
    assert "make PYTHON=/path/to/python3.12" in done.stderr
    assert not (clone / ".venv").exists()


def test_no_python_at_all_says_what_to_install(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None, name
        (tools / name).symlink_to(found)
    done = make(clone, "run", path=str(tools))
    assert done.returncode != 0
    assert "No usable Python found" in done.stderr
    assert "apt install python3.11" in done.stderr
    assert not (clone / ".venv").exists()


def test_what_is_set_up_is_not_set_up_again(clone: Path) -> None:
    ready(clone, clone)
    said = make(clone, "--dry-run", "run").stdout
    assert ".ci/setup" not in said
    assert said.strip() == ".venv/bin/taskq demo"
    assert make(clone, "--dry-run", "run", "ONCE=1").stdout.strip() == ".venv/bin/taskq demo --once"


def test_what_was_moved_or_has_changed_is_set_up_again(clone: Path, tmp_path: Path) -> None:
    ready(clone, tmp_path / "elsewhere")
    assert ".ci/setup" in make(clone, "--dry-run", "run").stdout
    shutil.rmtree(clone / ".venv")
    ready(clone, clone)
    later = (clone / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(clone / "constraints.txt", (later, later))
    assert ".ci/setup" in make(clone, "--dry-run", "run").stdout
