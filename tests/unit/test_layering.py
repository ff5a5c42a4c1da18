"""The arrows between packages, read from the imports of the sources.

    taskq core (commands ... machine, protocol)  <-  taskq shells  <-  cluster  <-  cluster/node.py

The core decides and touches nothing outside; every third-party system has one door; only node.py
builds objects of other packages. Each rule is also shown to catch a bad snippet.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Every module that lies directly in taskq/, but for the facade and its command.
SHELL_FILES = {"taskq/__init__.py", "taskq/__main__.py"}
CORE_FOLDERS = ("taskq/machine/", "taskq/protocol/")
# What would let the outside in: clocks, chance, the system, other loops.
IMPURE = {
    *("asyncio", "threading", "time", "random", "uuid", "os", "socket", "logging"),
    *("concurrent", "multiprocessing", "pathlib", "secrets", "select", "selectors", "signal"),
    *("ssl", "subprocess", "tempfile", "plyvel", "pysyncobj"),
}
# Third-party systems and the only places that may know them.
DOORS = {
    "plyvel": "cluster/storage/",
    "pysyncobj": "cluster/replication/",
    "grpc": "cluster/server/grpc",
}
# What the base install has; `taskq` must import with nothing else.
BASE = {"click", "msgpack", "rich"}
# Package of cluster -> what it may not import. `errors` modules are vocabulary, open to all.
CLOSED = {
    "cluster/storage/": ("replication", "server", "monitors", "node"),
    "cluster/replication/": ("server", "node"),
    "cluster/monitors/": ("storage", "replication", "server", "node"),
    "cluster/server/": ("storage", "replication", "node"),
    "cluster/config/": ("storage", "replication", "server", "monitors", "node"),
}


@dataclass(frozen=True)
class Import:
    """One imported module, and how: at import time or later, for types only, or if present."""

    module: str
    line: int
    lazy: bool
    types_only: bool
    optional: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def within(self, package: str) -> bool:
        return self.module == package or self.module.startswith(package + ".")


def imports(tree: ast.AST) -> list[Import]:
    return list(_imports(tree, lazy=False, types_only=False, optional=False))


def _imports(node: ast.AST, *, lazy: bool, types_only: bool, optional: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for name in node.names:
            yield Import(name.name, node.lineno, lazy, types_only, optional)
    elif isinstance(node, ast.ImportFrom):
        # `from a import b` may name the module a.b: both are looked at.
        for name in node.names:
            module = f"{node.module}.{name.name}"
            yield Import(module, node.lineno, lazy, types_only, optional)
    elif isinstance(node, ast.Call) and _called(node) in ("__import__", "import_module"):
        first = node.args[0] if node.args else None
        # A module chosen at run time is reported as such, so that it cannot pass unseen.
        known = isinstance(first, ast.Constant) and isinstance(first.value, str)
        module = str(first.value) if known and isinstance(first, ast.Constant) else "?"
        yield Import(module, node.lineno, lazy, types_only, optional)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        lazy = True
    if isinstance(node, ast.Try) and any(_catches_import_error(one) for one in node.handlers):
        optional = True
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from _imports(child, lazy=lazy, types_only=True, optional=optional)
        for child in node.orelse:
            yield from _imports(child, lazy=lazy, types_only=types_only, optional=optional)
        return
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, lazy=lazy, types_only=types_only, optional=optional)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    return handler.type is not None and "ImportError" in ast.unparse(handler.type)


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def violations(path: str, source: str) -> list[str]:
    """Every broken rule of a source file at `path` (relative to the root), one sentence each."""
    tree = ast.parse(source)
    found = imports(tree)
    sentences = [*_core(path, found), *_arrows(path, found), *_doors(path, found)]
    sentences += _cluster(path, found)
    sentences += _builders(path, tree, found)
    return [f"{path}:{sentence}" for sentence in sentences]


def is_core(path: str) -> bool:
    top_level = path.startswith("taskq/") and path.count("/") == 1 and path not in SHELL_FILES
    return top_level or path.startswith(CORE_FOLDERS)


def _core(path: str, found: list[Import]) -> Iterator[str]:
    if not is_core(path):
        return
    for one in found:
        if one.top in IMPURE:
            yield f"{one.line}: the core must not import {one.top}"
        if one.top in ("taskq", "cluster") and not _is_core_module(one.module):
            yield f"{one.line}: the core must not import {one.module}, which is outside of it"
        if one.module == "?":
            yield f"{one.line}: the core must not import what is chosen at run time"
        if path.startswith("taskq/machine/") and one.within("taskq.protocol"):
            yield f"{one.line}: the machine must not know the protocol"
        if path.startswith("taskq/protocol/") and one.within("taskq.machine"):
            yield f"{one.line}: the protocol must not know the machine"


def _is_core_module(module: str) -> bool:
    """Whether `module`, or the module of which it may be a member, is core."""
    path = module.replace(".", "/")
    candidates = (f"{path}.py", f"{path.rpartition('/')[0]}.py")
    in_folder = f"{path}/".startswith(CORE_FOLDERS)
    return in_folder or any(is_core(one) and (ROOT / one).exists() for one in candidates)


def _arrows(path: str, found: list[Import]) -> Iterator[str]:
    if not path.startswith("taskq/"):
        return
    for one in found:
        in_command_line = path.startswith("taskq/cli/")
        if one.top == "cluster" and not (in_command_line and (one.lazy or one.types_only)):
            yield f"{one.line}: taskq must not import cluster, but for functions of taskq/cli"
        third_party = one.top not in sys.stdlib_module_names | {"taskq", "cluster", "?"} | BASE
        if third_party and not (one.lazy or one.types_only or one.optional):
            yield f"{one.line}: {one.top} is not in the base install: import it in a function"


def _doors(path: str, found: list[Import]) -> Iterator[str]:
    for one in found:
        door = DOORS.get(one.top)
        if door is not None and not path.startswith(door):
            yield f"{one.line}: only {door} may import {one.top}"


def _cluster(path: str, found: list[Import]) -> Iterator[str]:
    for one in found:
        if one.within("cluster.node") and not path.startswith(("taskq/cli/", "cluster/__main__")):
            yield f"{one.line}: nothing but the command line may import cluster.node"
        if one.types_only:
            continue
        for folder, closed in CLOSED.items():
            for name in closed:
                vocabulary = one.within(f"cluster.{name}.errors")
                if path.startswith(folder) and one.within(f"cluster.{name}") and not vocabulary:
                    yield f"{one.line}: {folder} must not import cluster.{name}; it is handed in"


def _builders(path: str, tree: ast.AST, found: list[Import]) -> Iterator[str]:
    """A class of another package of cluster with an `open` is opened by node.py alone."""
    if path == "cluster/node.py" or not path.startswith("cluster/"):
        return
    own = ".".join(path.split("/")[:2]).removesuffix(".py")
    parts = ("storage", "replication", "server", "monitors")
    foreign = {
        one.module.rpartition(".")[2]
        for one in found
        if any(one.within(f"cluster.{part}") for part in parts) and not one.within(own)
    }
    for node in ast.walk(tree):
        opens = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if opens and node.func.attr == "open" and ast.unparse(node.func.value) in foreign:
            yield f"{node.lineno}: only cluster/node.py opens {ast.unparse(node.func.value)}"


def sources() -> list[Path]:
    found = [path for top in ("taskq", "cluster") for path in sorted((ROOT / top).rglob("*.py"))]
    assert len(found) > 20, "the sources were not found"
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    assert violations(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) == []


def test_the_core_exists() -> None:
    names = ("commands", "results", "errors", "limits", "registry")
    missing = [name for name in names if not (ROOT / f"taskq/{name}.py").exists()]
    missing += [name for name in CORE_FOLDERS if not (ROOT / name).exists()]
    assert missing == [], "a part of the core was renamed: the rules above no longer see it"


BAD = [
    *[("taskq/machine/lease.py", f"import {name}") for name in sorted(IMPURE)],
    ("taskq/limits.py", "from time import monotonic"),
    ("taskq/protocol/frame.py", "import os.path"),
    ("taskq/protocol/frame.py", "def f():\n    import random"),
    ("taskq/protocol/frame.py", "__import__('socket')"),
    ("taskq/protocol/frame.py", "import importlib\nimportlib.import_module('a' + 'b')"),
    ("taskq/protocol/frame.py", "from taskq.machine import lease"),
    ("taskq/protocol/frame.py", "import taskq.machine.lease"),
    ("taskq/machine/lease.py", "from taskq import protocol"),
    ("taskq/machine/lease.py", "from taskq.protocol.frame import Frame"),
    ("taskq/machine/lease.py", "from taskq.client import Client"),
    ("taskq/machine/lease.py", "from taskq import Client"),
    ("taskq/commands.py", "import taskq"),
    ("taskq/client/shell.py", "import cluster"),
    ("taskq/client/shell.py", "def f():\n    from cluster.node import main"),
    ("taskq/cli/up.py", "from cluster.node import main"),
    ("taskq/cli/up.py", "import cluster.config"),
    ("taskq/cli/up.py", "class A:\n    import cluster"),
    ("taskq/worker/plain.py", "import psutil"),
    ("taskq/worker/plain.py", "try:\n    import psutil\nexcept ValueError:\n    pass"),
    ("taskq/cli/up.py", "import yaml"),
    ("cluster/server/tcp.py", "import plyvel"),
    ("cluster/node.py", "def f():\n    from plyvel import DB"),
    ("cluster/storage/log.py", "from pysyncobj import SyncObj"),
    ("cluster/server/tcp.py", "import grpc"),
    ("cluster/storage/log.py", "from cluster.replication.driver import Driver"),
    ("cluster/storage/log.py", "from cluster import server"),
    ("cluster/storage/log.py", "def f():\n    import cluster.server.tcp"),
    ("cluster/server/tcp.py", "from cluster.storage.log_store import LogStore"),
    ("cluster/server/tcp.py", "from cluster.replication import driver"),
    ("cluster/monitors/leases.py", "from cluster.replication.driver import Driver"),
    ("cluster/replication/driver.py", "from cluster.server import tcp"),
    ("cluster/replication/driver.py", "from cluster.node import build"),
    ("cluster/logging.py", "from cluster.node import build"),
    (
        "cluster/replication/journal.py",
        "from cluster.storage.log_store import LogStore\nLogStore.open('x')",
    ),
]


@pytest.mark.parametrize(("path", "source"), BAD)
def test_bad_snippets_are_caught(path: str, source: str) -> None:
    assert violations(path, source) != []


GOOD = [
    ("taskq/machine/lease.py", "from taskq import limits\nfrom taskq.limits import LEASE_MS_MAX"),
    ("taskq/machine/lease.py", "from taskq.machine.task import Task\nimport heapq, struct"),
    ("taskq/protocol/codec.py", "import msgpack\nfrom taskq.registry import COMMANDS"),
    ("taskq/client/shell.py", "import asyncio\nfrom taskq.protocol.frame import Frame"),
    ("taskq/worker/plain.py", "try:\n    import psutil\nexcept ImportError:\n    psutil = None"),
    ("taskq/cli/up.py", "def up():\n    from cluster.node import main\n    main()"),
    ("cluster/storage/log.py", "import plyvel"),
    ("cluster/replication/driver.py", "import pysyncobj.syncobj"),
    ("cluster/replication/journal.py", "from cluster.storage.log_store import LogStore"),
    ("cluster/server/tcp.py", "from cluster.replication.errors import NoLeader"),
    (
        "cluster/server/tcp.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from cluster.replication.driver import Driver",
    ),
    ("cluster/node.py", "from cluster.storage.log_store import LogStore\nLogStore.open('x')"),
]


@pytest.mark.parametrize(("path", "source"), GOOD)
def test_good_snippets_pass(path: str, source: str) -> None:
    assert violations(path, source) == []
