"""How we write, where a machine can tell. Each rule is also shown to catch a bad snippet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FUNCTION_LINES_MAX = 70
# The aim is 60 to 250; this is where a file must be cut in two.
FILE_LINES_MAX = 400
# Names under which anything can be put.
VAGUE = {"util", "utils", "helper", "helpers", "common", "base", "manager", "managers", "misc"}
# They run code, or crash, when fed with bytes from outside.
UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"}
BROAD = {"Exception", "BaseException", ""}


def violations(path: str, source: str) -> list[str]:
    """Every broken rule of a source file at `path`, one sentence each."""
    tree = ast.parse(source)
    checks = (_sizes(source, tree), _names(path), _swallowing(tree), _unpickling(tree))
    return [f"{path}:{sentence}" for check in checks for sentence in check]


def _sizes(source: str, tree: ast.AST) -> Iterator[str]:
    count = len(source.splitlines())
    if count > FILE_LINES_MAX:
        yield f" {count} lines; at most {FILE_LINES_MAX}"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield (
                    f"{node.lineno}: {node.name} has {length} lines; at most {FUNCTION_LINES_MAX}"
                )


def _names(path: str) -> Iterator[str]:
    for part in Path(path).with_suffix("").parts:
        vague = VAGUE & set(re.split(r"_+", part.lower()))
        if vague:
            yield f" {part}: name a file by the one thing that it holds, not {vague.pop()}"


def _swallowing(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and _does_nothing(node):
            yield f"{node.lineno}: swallows every error"
        suppresses = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress")
        if suppresses and any(_is_broad(argument) for argument in node.args):
            yield f"{node.lineno}: suppresses every error"


def _is_broad(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_is_broad(member) for member in kind.elts)
    return ("" if kind is None else ast.unparse(kind).rpartition(".")[2]) in BROAD


def _does_nothing(handler: ast.ExceptHandler) -> bool:
    return all(
        isinstance(statement, (ast.Pass, ast.Continue))
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in handler.body
    )


def _unpickling(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(name.name for name in node.names)]
        elif isinstance(node, ast.Call) and node.args and _imports_by_name(node):
            names = [ast.unparse(node.args[0]).strip("'")]
        for name in names:
            if name.partition(".")[0] in UNSAFE:
                yield f"{node.lineno}: nothing unpickles ({name})"


def _imports_by_name(node: ast.Call) -> bool:
    return ast.unparse(node.func).endswith(("__import__", "import_module"))


def sources() -> list[Path]:
    found = [path for top in ("taskq", "cluster") for path in sorted((ROOT / top).rglob("*.py"))]
    assert len(found) > 20, "the sources were not found"
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_style(path: Path) -> None:
    assert violations(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) == []


LONG = "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX
BAD = [
    ("taskq/a.py", LONG),
    ("taskq/a.py", "class A:\n    async " + LONG.replace("\n", "\n    ")),
    ("taskq/a.py", "x = 1\n" * (FILE_LINES_MAX + 1)),
    ("taskq/utils.py", ""),
    ("cluster/helpers/lease.py", ""),
    ("cluster/lease_manager.py", ""),
    ("taskq/a.py", "try:\n    f()\nexcept Exception:\n    pass"),
    ("taskq/a.py", "try:\n    f()\nexcept:\n    'why'\n    ..."),
    ("taskq/a.py", "try:\n    f()\nexcept (ValueError, builtins.BaseException) as e:\n    pass"),
    ("taskq/a.py", "while 1:\n    try:\n        f()\n    except Exception:\n        continue"),
    ("taskq/a.py", "with contextlib.suppress(Exception):\n    f()"),
    ("taskq/a.py", "import pickle"),
    ("taskq/a.py", "def f():\n    from pickle import loads"),
    ("taskq/a.py", "from pysyncobj import pickle"),
    ("taskq/a.py", "importlib.import_module('pickle')"),
]


@pytest.mark.parametrize(("path", "source"), BAD)
def test_bad_snippets_are_caught(path: str, source: str) -> None:
    assert violations(path, source) != []


def test_good_snippets_pass() -> None:
    source = "try:\n    f()\nexcept Exception:\n    log.exception('f')\n    raise SystemExit(1)\n"
    assert violations("taskq/database.py", source) == []
    assert violations("taskq/a.py", "try:\n    f()\nexcept OSError:\n    pass\n") == []
    assert violations("taskq/a.py", LONG.removesuffix("    x = 1\n")) == []
