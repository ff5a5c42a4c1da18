"""What pyproject.toml, the constraints and the hooks promise to each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_the_foundations_are_pinned_exactly() -> None:
    assert {"plyvel==1.5.1", "pysyncobj==0.3.17"} <= set(EXTRAS["broker"])


def test_the_base_install_needs_nothing_of_a_node() -> None:
    base = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert base == {"click", "msgpack", "rich"}


def test_python_has_no_upper_bound() -> None:
    assert PROJECT["requires-python"] == ">=3.11"


def test_every_requirement_has_a_known_good_version_that_fits() -> None:
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    versions = pinned()
    for requirement in map(Requirement, lines):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_hooks_run_what_make_check_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (repository,) = hooks["repos"]
    assert repository["repo"] == "local", "hooks must not fetch anything"
    recipes = [MAKEFILE.partition(f"\n{one}:")[2].partition("\n\n")[0] for one in ("lint", "check")]
    recipe = "\n".join(recipes).replace("$(BIN)", ".venv/bin")
    steps = re.findall(r"^\t@(\S+/bin/.*?)(?: \|\| \\)?$", recipe, re.MULTILINE)
    assert [hook["entry"] for hook in repository["hooks"]] == steps
    assert len(steps) == 4


def test_ci_runs_the_commands_that_people_run() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    steps = re.findall(
        r"^ *(?:step|beside) .* make --no-print-directory (\S+)", script, re.MULTILINE
    )
    assert steps[:3] == ["setup", "lint", "test"]
    assert {"sim", "test-long", "chaos", "test-containers"} <= {*steps}


def test_types_are_shipped() -> None:
    assert (ROOT / "taskq/py.typed").exists()
    assert (ROOT / "cluster/py.typed").exists()
