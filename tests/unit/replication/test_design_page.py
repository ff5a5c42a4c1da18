"""`cluster/DESIGN.md` names code and tests; each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "cluster" / "DESIGN.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:cluster|tests|docs)/[\w./]+(?:::[\w.]+)?)`", PAGE)))


def names_in(source: str) -> set[str]:
    """Functions, classes and `Class.method`s of a module."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (ast.FunctionDef, ast.AsyncFunctionDef)
            names |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, methods)}
    return names


def test_the_page_names_much() -> None:
    assert len(NAMED) > 60
    for rule in ("A1", "A2", "A6", "A12", *(f"L{number}" for number in range(1, 8))):
        assert re.search(rf"\b{rule}\b", PAGE), rule


@pytest.mark.parametrize("named", NAMED)
def test_what_the_page_names_exists(named: str) -> None:
    path, _, name = named.partition("::")
    file = ROOT / path
    assert file.exists(), path
    if name:
        assert name in names_in(file.read_text())
