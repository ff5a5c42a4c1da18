"""docs/tutorial.md from the empty folder to the end: every command, every file, every output.

Nothing is fetched. `python3 -m venv` leaves pip out, which takes longer than all the rest; `pip` is
ours, and what the wheel needs is there already, as if it had been installed before.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.integration.docs.conftest import DOCS, beside
from tests.integration.docs.page import Reader
from tests.integration.packaging.conftest import NAME, Packages, once, packages

__all__ = ["once", "packages"]

PYTHON = f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec {sys.executable} "$@"
{sys.executable} -m venv --without-pip "$3" || exit
ln -s "$PREPARED"/site/* "$3"/lib/python3*/site-packages/
cp "$PREPARED"/pip "$3"/bin/
"""
PIP = f"""#!/bin/sh
exec {sys.executable} -m pip --python "$VIRTUAL_ENV/bin/python" "$@"
"""


def needed(name: str, extra: str) -> set[str]:
    """Every distribution that this one needs with an extra, itself left out."""
    found: set[str] = set()
    rest = [(name, extra)]
    while rest:
        of, chosen = rest.pop()
        for line in distribution(of).requires or []:
            one = Requirement(line)
            wanted = one.marker is None or one.marker.evaluate({"extra": chosen})
            if wanted and one.name not in found:
                found.add(one.name)
                rest.append((one.name, ""))
    return found


def prepare(folder: Path) -> None:
    """What the reader's `python3` and `pip` work with."""
    site = folder / "site"
    site.mkdir(parents=True)
    for name in needed(NAME, "broker"):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            if top != "__pycache__":
                (site / top).symlink_to(str(found.locate_file(top)))
    for script, text in (("python3", PYTHON), ("pip", PIP)):
        (folder / script).write_text(text)
        (folder / script).chmod(0o755)


def test_the_tutorial(reader: Callable[..., Reader], packages: Packages, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    prepare(prepared)
    folder = tmp_path / "empty"
    folder.mkdir()
    shutil.copy(packages.wheel, folder)
    newcomer = reader(
        folder,
        PATH=f"{prepared}:{beside('/usr/bin/env')}",
        PREPARED=str(prepared),
        PIP_NO_INDEX="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_COMPILE="1",
    )
    newcomer.follow((DOCS / "tutorial.md").read_text("utf-8"))
    where = (folder / "venv").resolve()
    assert next(where.glob("lib/python3*/site-packages/taskq/__init__.py")).is_file()
    assert len((folder / "ids.txt").read_text().split()) == 100
    killed = [line for line in newcomer.commands if "kill -9" in line]
    assert len(killed) == 1
