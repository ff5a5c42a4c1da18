"""A reader of the documentation, in an empty folder, with whatever he has started."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.docs.page import Reader

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Callable[..., Reader]]:
    """Makes readers. What they leave running is killed at the end, found by a mark in its
    environment."""
    mark = uuid.uuid4().hex
    ours = ("TASKQ", "PYTHON", "VIRTUAL_ENV", "COLUMNS", "LINES")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    made: list[Reader] = []

    def make(folder: Path = tmp_path, **variables: str) -> Reader:
        made.append(Reader(folder, {**inherited, "TASKQ_TEST_MARK": mark, **variables}))
        return made[-1]

    yield make
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for one in made:
        one.close()


def marked(mark: str) -> list[int]:
    """The processes with a mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in environment:
                found.append(int(folder.name))
    return found


def beside(python: str = sys.executable) -> str:
    """PATH with the scripts of an environment first."""
    return f"{Path(python).parent}:{os.environ['PATH']}"
