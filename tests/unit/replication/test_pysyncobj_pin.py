"""The pin: what we override or touch in PySyncObj is, byte for byte, what we read.

The names are computed from our sources, so that a new one cannot be forgotten. When this fails
after an upgrade: read the new source of each member that is named, check every rule (A1-A14 in
`cluster/DESIGN.md`) that leans on it, mend `raft.py` or `raft_state.py`, and only then record the
new hash (the failing test prints the whole table).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pysyncobj
import pytest
from pysyncobj import SyncObj, config, journal, node, syncobj, transport

ROOT = Path(__file__).parents[3]
REPLICATION = ROOT / "cluster" / "replication"
# What `Raft` is made of.
OURS = ("raft.py", "raft_state.py")

# Attributes of objects, which have no source of their own: the constructor's hash covers them.
ATTRIBUTES = {
    "commandsWaitingCommit",
    "leaderCommitIndex",
    "needLoadDumpFile",
    "noopIDx",
    "raftCommitIndex",
    "raftCurrentTerm",
    "raftLastApplied",
    "raftLeader",
    "raftLog",
    "raftState",
    "votedForNodeId",
}

# sha256 of the source, the first 16 digits. Member -> hash, as read for version 0.3.17.
READ = {
    "Journal": "8375f2a66c8600e6",
    "Node": "08d57d1bfde2aca1",
    "SyncObj.__applyLogEntries": "9f16906d64eb4365",
    "SyncObj.__doApplyCommand": "11d56654a7967958",
    "SyncObj.__doChangeCluster": "708d5c705f39c2d9",
    "SyncObj.__getCurrentLogIndex": "67a0d90ed9eef1b1",
    "SyncObj.__init__": "567144f8ece131d0",
    "SyncObj.__onBecomeLeader": "dc7061d58e5d095f",
    "SyncObj.__onMessageReceived": "6bb6b65d08088de7",
    "SyncObj.__onSetCodeVersion": "eacd8cd4a1dc441d",
    "SyncObj.__parseChangeClusterRequest": "de6fe1eec29a22e1",
    "SyncObj.__sendAppendEntries": "c516421ef97baf53",
    "SyncObj.__setCurrentTerm": "cb92dcac8150da96",
    "SyncObj.__setState": "69da04894279128e",
    "SyncObj._applyCommand": "687f9cf38c5a438f",
    "SyncObj._onTick": "36e45355c824c4b4",
    "SyncObj.doTick": "77116f3e892f11c0",
    "SyncObj.raftCommitIndex": "d188cfedfe8527a3",
    "SyncObj.raftCurrentTerm": "b717d7805cf291f1",
    "SyncObj.raftLastApplied": "eca37cfb31c00e0b",
    "SyncObjConf": "e8d5f06ea6435e2c",
    "Transport": "9b0212a7af6123e7",
    "replicated": "132a6458c196b3f7",
}


def our_tree() -> ast.Module:
    trees = [ast.parse((REPLICATION / name).read_text()) for name in OURS]
    return ast.Module([one for tree in trees for one in tree.body], type_ignores=[])


def touched(tree: ast.AST) -> set[str]:
    """Every private name of PySyncObj that a source reads, sets or overrides."""
    names = {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute)}
    names |= {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    names |= {str(one.value) for one in ast.walk(tree) if isinstance(one, ast.Constant)}
    prefix = "_SyncObj__"
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def public(tree: ast.AST) -> set[str]:
    """Members of `SyncObj` that a source overrides or uses under their own name, but for those
    that are ours as well (`apply`)."""
    names = {
        one.attr
        for one in ast.walk(tree)
        if isinstance(one, ast.Attribute) and ast.unparse(one.value) in ("self", "super()")
    }
    names |= {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    found = names & set(dir(SyncObj)) | {"__init__"}
    return {name for name in found if not name.startswith("_SyncObj__")}


def source_hash(thing: Any) -> str:
    if isinstance(thing, property):
        thing = thing.fget
    source = textwrap.dedent(inspect.getsource(thing))
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def callees(function: Any) -> set[str]:
    """Private methods of `SyncObj` that a method of its own calls."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute)}
    return {name[2:] for name in names if name.startswith("__")} - ATTRIBUTES


def private(name: str) -> Any:
    return inspect.getattr_static(SyncObj, f"_SyncObj__{name}")


def members() -> dict[str, Any]:
    """Everything that we lean on: name -> the thing with a source."""
    tree = our_tree()
    found: dict[str, Any] = {
        f"SyncObj.{name}": inspect.getattr_static(SyncObj, name) for name in public(tree)
    }
    methods = touched(tree) - ATTRIBUTES
    # One step further: what those that we do not override call.
    overridden = {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    for name in sorted(methods):
        found[f"SyncObj.__{name}"] = private(name)
        if f"_SyncObj__{name}" in overridden:
            continue
        for callee in callees(private(name)):
            if callable(getattr(SyncObj, f"_SyncObj__{callee}", None)):
                found[f"SyncObj.__{callee}"] = private(callee)
    found["SyncObj._onTick"] = SyncObj._onTick
    found["SyncObj.doTick"] = SyncObj.doTick
    found["replicated"] = syncobj.replicated
    found["Journal"] = journal.Journal
    found["Transport"] = transport.Transport
    found["Node"] = node.Node
    found["SyncObjConf"] = config.SyncObjConf
    return found


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("pysyncobj") == "0.3.17"
    assert pysyncobj.version.VERSION == "0.3.17"


def test_every_member_that_we_lean_on_is_as_it_was_read() -> None:
    now = {name: source_hash(thing) for name, thing in sorted(members().items())}
    changed = sorted(name for name in now.keys() | READ.keys() if now.get(name) != READ.get(name))
    table = "\n".join(f'    "{name}": "{digest}",' for name, digest in now.items())
    assert not changed, f"read these anew (see the top of this file): {changed}\n{table}"


def test_attributes_are_what_the_constructor_makes() -> None:
    names = touched(our_tree())
    methods = {name for name in names if callable(getattr(SyncObj, f"_SyncObj__{name}", None))}
    assert names - methods == ATTRIBUTES, "ATTRIBUTES lists what we touch, and nothing else"
    source = inspect.getsource(SyncObj.__init__)
    assert {name for name in ATTRIBUTES if f"self.__{name} = " not in source} == set()


def test_no_other_file_of_ours_touches_private_names() -> None:
    files = [path for top in ("cluster", "taskq") for path in (ROOT / top).rglob("*.py")]
    assert len(files) > 50
    touching = [path.name for path in files if touched(ast.parse(path.read_text()))]
    assert sorted(touching) == sorted(OURS)


def test_nothing_of_ours_imports_pickle() -> None:
    for path in [*(ROOT / "cluster").rglob("*.py"), *(ROOT / "taskq").rglob("*.py")]:
        for one in ast.walk(ast.parse(path.read_text())):
            if isinstance(one, (ast.Import, ast.ImportFrom)):
                assert "pickle" not in ast.unparse(one), path


def test_the_constants_are_pysyncobjs() -> None:
    from cluster.replication import raft

    states, kinds = syncobj._RAFT_STATE, syncobj._COMMAND_TYPE
    assert (raft.FOLLOWER, raft.CANDIDATE, raft.LEADER) == (
        states.FOLLOWER,
        states.CANDIDATE,
        states.LEADER,
    )
    assert (bytes((kinds.REGULAR,)), bytes((kinds.NO_OP,))) == (raft.REGULAR, raft.NO_OP)


def test_apply_is_the_only_replicated_method_and_has_number_zero() -> None:
    """A1, fact 4: numbers go by name, and a second one could renumber an old log."""
    from cluster.replication.raft import Raft

    marked = [name for name in dir(Raft) if getattr(getattr(Raft, name), "replicated", False)]
    assert sorted(marked) == ["apply", "apply_v0"]


@pytest.mark.parametrize(
    ("finder", "snippet", "found"),
    [
        (touched, "self._SyncObj__newThing = 1", {"newThing"}),
        (touched, "def _SyncObj__tryLogCompaction(self): pass", {"tryLogCompaction"}),
        (touched, "getattr(self, '_SyncObj__conf')", {"conf"}),
        (public, "def _checkCommandsToApply(self): pass", {"_checkCommandsToApply", "__init__"}),
        (public, "self.getStatus()", {"getStatus", "__init__"}),
    ],
)
def test_a_new_name_is_found(
    finder: Callable[[ast.AST], set[str]], snippet: str, found: set[str]
) -> None:
    assert finder(ast.parse(snippet)) == found
