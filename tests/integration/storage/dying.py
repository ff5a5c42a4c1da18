"""A process that dies between any two of its durable steps on plain files and databases.

What runs after the death (a `finally`) changes nothing any more, as in a process that is gone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.database import Database


class Died(BaseException):
    """The process ended here."""


class Steps:
    """Counts durable steps and dies before step `limit` (from 0). `died`, `names` of the steps."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.died = False
        self.names: list[str] = []

    def step(self, name: str) -> None:
        if len(self.names) == self.limit:
            self.died = True
        if self.died:
            raise Died(name)
        self.names.append(name)


def _stepping(steps: Steps, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **keywords: Any) -> Any:
        steps.step(name)
        return real(*args, **keywords)

    return call


def _removing(steps: Steps) -> Callable[..., None]:
    """Two steps: a folder of which one file is gone, and then no folder."""
    real = shutil.rmtree

    def call(path: Path) -> None:
        steps.step(f"begin to remove {Path(path).name}")
        for file in sorted(Path(path).iterdir())[:1]:
            file.unlink()
        steps.step(f"remove {Path(path).name}")
        real(path)

    return call


@contextmanager
def dying(limit: int) -> Iterator[Steps]:
    """Within, the process dies before its durable step `limit`; raises nothing for that."""
    steps = Steps(limit)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((os, "rename"), (os, "replace"), (os, "truncate"), (os, "link")):
            patch.setattr(module, name, _stepping(steps, name, getattr(module, name)))
        for method in ("write", "open"):
            patch.setattr(Database, method, _stepping(steps, method, getattr(Database, method)))
        patch.setattr(shutil, "rmtree", _removing(steps))
        try:
            yield steps
        except Died:
            assert steps.died


def crash_everywhere(
    root: Path, scratch: Path, run: Callable[[Path], None], check: Callable[[Path], None]
) -> list[str]:
    """For every step of `run` on a copy of `root`: die before it, then `check` what is left.

    Ends with the run that dies nowhere, which is checked, too; the names of its steps.
    """
    limit = 0
    while True:
        copy = shutil.copytree(root, scratch / f"run-{limit}")
        with dying(limit) as steps:
            run(copy)
        # Elsewhere, because the dead process's databases are still open in this one.
        left = shutil.copytree(copy, scratch / f"left-{limit}")
        try:
            check(left)
        except BaseException as error:
            error.add_note(f"died before step {limit}, after {steps.names[-3:]}")
            raise
        shutil.rmtree(copy)
        shutil.rmtree(left)
        if not steps.died:
            return steps.names
        limit += 1
