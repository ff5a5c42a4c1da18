"""Wheel and sdist: what is in them, what they say, and that the index would take them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def names(packages: Any) -> set[str]:
    with zipfile.ZipFile(packages.wheel) as wheel:
        return set(wheel.namelist())


@pytest.fixture(scope="module")
def metadata(packages: Any) -> Message:
    with zipfile.ZipFile(packages.wheel) as wheel:
        (name,) = [one for one in wheel.namelist() if one.endswith(".dist-info/METADATA")]
        return Parser().parsestr(wheel.read(name).decode())


def sources(*tops: str) -> set[str]:
    """Files of the working tree that belong into a package: modules and marks."""
    kinds = (".py", ".typed")
    found = {
        path.relative_to(ROOT).as_posix()
        for top in tops
        for path in (ROOT / top).rglob("*")
        if path.suffix in kinds
    }
    assert len(found) > 100
    return found


@pytest.mark.parametrize("tool", ["twine", "check-wheel-contents"])
def test_the_index_would_take_them(packages: Any, tool: str) -> None:
    scripts = Path(sys.executable).parent
    command = {
        "twine": [scripts / "twine", "check", "--strict", *packages],
        "check-wheel-contents": [scripts / "check-wheel-contents", packages.wheel],
    }[tool]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_is_for_every_platform(packages: Any) -> None:
    assert packages.wheel.name == f"taskq_cluster-{PROJECT['version']}-py3-none-any.whl"


def test_the_wheel_holds_both_packages_and_nothing_else(names: set[str]) -> None:
    code = {name for name in names if ".dist-info/" not in name}
    assert code == sources("taskq", "cluster")
    assert {"taskq/py.typed", "cluster/py.typed"} <= code


def test_the_licence_is_in_both(packages: Any, names: set[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    with tarfile.open(packages.sdist) as sdist:
        assert f"taskq_cluster-{PROJECT['version']}/LICENSE" in sdist.getnames()


def test_the_wheel_says_what_it_needs(metadata: Message) -> None:
    assert metadata["Name"] == "taskq-cluster"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    lines = metadata.get_all("Requires-Dist") or []
    base = {one.name for one in map(Requirement, lines) if one.marker is None}
    assert base == {"click", "msgpack", "rich"}
    assert set(metadata.get_all("Provides-Extra") or []) == {"broker", "dev", "examples"}
    assert "Typing :: Typed" in (metadata.get_all("Classifier") or [])


def test_the_sdist_can_be_tested_and_built_again(packages: Any) -> None:
    with tarfile.open(packages.sdist) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert sources("taskq", "cluster", "tests", "chaos", "bench", "examples") <= held
    front = {"Makefile", ".ci/setup", ".ci/run", "constraints.txt", ".pre-commit-config.yaml"}
    pages = {"README.md", "CHANGELOG.md", "SECURITY.md", "DESIGN.md", "docs/command-line.md"}
    image = {"Dockerfile", ".dockerignore", "docker-compose.yaml", ".ci/image"}
    assert front | pages | image <= held
    assert not [name for name in held if "__pycache__" in name or name.startswith(".venv")]


def test_the_changes_have_an_entry_for_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## {PROJECT['version']} " in text
