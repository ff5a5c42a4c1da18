"""The tasks of both stages: a file becomes functions, a function becomes figures.

`taskq worker stages:app` runs them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import taskq

app = taskq.App(queue="pipeline")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


@app.task(max_retries=1)
def list_functions(path: str) -> list[str]:
    """The source, without comments, of each function of a Python file. Functions inside of one
    belong to it.

    Raises SyntaxError, OSError.
    """
    found = []
    rest: list[ast.AST] = [ast.parse(Path(path).read_bytes())]
    while rest:
        node = rest.pop()
        if isinstance(node, FUNCTIONS):
            found.append(ast.unparse(node))
        else:
            rest += ast.iter_child_nodes(node)
    return found


@app.task(max_retries=1)
def measure(source: str) -> dict[str, int]:
    """Lines and branches of a function."""
    branches = sum(isinstance(node, BRANCHES) for node in ast.walk(ast.parse(source)))
    return {"functions": 1, "lines": len(source.splitlines()), "branches": branches}
