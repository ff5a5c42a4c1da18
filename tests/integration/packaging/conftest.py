"""The packages, built once for a run of the tests, and an environment with nothing but the base
install. Nothing is fetched: the build runs in our environment, which has its backend, and what the
base install needs is copied from there."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
NAME = "taskq-cluster"


class Packages(NamedTuple):
    """What `hatchling build` makes."""

    wheel: Path
    sdist: Path


class Environment(NamedTuple):
    """An interpreter with the base install, and a folder of a user's beside it."""

    python: Path
    folder: Path

    def run(
        self, *command: str, code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a script of the environment, or its python, in the folder."""
        done = subprocess.run(
            [str(self.python.parent / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.variables | variables,
            capture_output=True,
            text=True,
            timeout=40,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def variables(self) -> dict[str, str]:
        """Of a shell in which nobody has set anything for Python or for us."""
        ours = ("TASKQ", "PYTHON", "COV_")
        return {name: text for name, text in os.environ.items() if not name.startswith(ours)}


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[..., Path]:
    """Makes a folder by a function, once for all processes of this run of the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder = shared / f"packaging-{name}"
        with (shared / f"packaging-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                fill(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def packages(once: Callable[..., Path]) -> Packages:
    """The wheel and the sdist of the sources as they are."""

    def build(folder: Path) -> None:
        made = folder.with_suffix(".part")
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(made)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        made.rename(folder)

    folder = once("dist", build)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Packages(wheel, sdist)


@pytest.fixture(scope="session")
def base_install(once: Callable[..., Path], packages: Packages) -> Path:
    """The python of an environment that holds the wheel and what its base needs, no more."""

    def make(folder: Path) -> None:
        # Scripts name the folder they were made for: it is not moved afterwards.
        venv.create(folder, with_pip=False, symlinks=True)
        python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        for name in needed(NAME):
            copy(distribution(name), site)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        options = ["--no-deps", "--no-index", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *options, str(packages.wheel)], capture_output=True, text=True)
        if done.returncode != 0:
            shutil.rmtree(folder)
        assert done.returncode == 0, done.stderr

    return once("base", make) / "bin" / "python"


def needed(name: str) -> set[str]:
    """Everything that a distribution without extras needs, itself left out."""
    found: set[str] = set()
    rest = [name]
    while rest:
        for line in distribution(rest.pop()).requires or []:
            requirement = Requirement(line)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in found:
                found.add(requirement.name)
                rest.append(requirement.name)
    return found


def copy(found: Distribution, site: Path) -> None:
    """Copies an installed distribution; not its scripts."""
    for file in found.files or []:
        if file.parts[0] != ".." and "__pycache__" not in file.parts:
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(found.locate_file(file)), target)


@pytest.fixture
def base(base_install: Path, tmp_path: Path) -> Environment:
    """The base install, in a folder that has modules with the names of ours and of the library's:
    whoever imports one of them has put the working folder first."""
    for name in ("cluster.py", "taskq.py", "queue.py", "click.py"):
        (tmp_path / name).write_text("raise SystemExit('a module of the user was imported')\n")
    return Environment(base_install, tmp_path)
