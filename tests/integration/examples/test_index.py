"""examples/README.md names every example, and each of them is run by a test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.examples.conftest import EXAMPLES


def test_every_example_is_named_described_and_run() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    index = (EXAMPLES / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| \[\w+\]\((\w+)\)", index, re.MULTILINE)) == folders
    assert {path.parent.name for path in EXAMPLES.glob("*/README.md")} == folders
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert tests - {"index"} == folders
