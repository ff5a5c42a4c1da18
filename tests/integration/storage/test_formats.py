"""Folders of every version that was released: opened, read back, and what today's version writes.

They are made by `python -m tests.formats.make`. A test that fails here because a format changed
wants a new version, feature level or format number, and what the old one wrote stays readable.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from chaos.live.node import LiveNode
from cluster.replication.applier import Applier
from cluster.replication.build import OWN_BUILD
from cluster.storage.identity import IDENTITY_NAME, decode_identity, encode_identity
from cluster.storage.log_records import Entry
from taskq import Client, NotFound
from taskq.commands import CancelTask, QueryStatus
from taskq.errors import ErrorCode, refuse
from taskq.machine.entry import decode_entry, encode_entry
from taskq.machine.machine import HANDLERS, Machine
from taskq.machine.view import MemoryView
from taskq.results import Done
from tests.formats.content import Content, content
from tests.formats.wire import wire
from tests.formats.work import QUESTIONS, STATES, counts, told
from tests.unit.replication.disk import Disk, MemoryState

KEPT = Path(__file__).parents[2] / "formats"
VERSIONS = sorted(path.parent for path in KEPT.glob("*/expected.json"))
FOLDERS = [(version, name) for version in VERSIONS for name in ("one", "n1", "n2", "n3")]
NEWEST = VERSIONS[-1]
CHANGED = (
    "the format is not that of the newest version that is kept: a new one needs a number of its own"
    " (before the release of a version: python -m tests.formats.make --again)"
)


def expected(version: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((version / "expected.json").read_text("utf-8"))
    return found


def unpacked(version: Path, name: str, target: Path) -> Path:
    archive = version / ("one.tar.gz" if name == "one" else "members.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")
    return target / name


def found_in(version: Path, name: str, target: Path) -> Content:
    return content(unpacked(version, name, target), name, member=name != "one")


def _id(value: Any) -> str:
    return value.name if isinstance(value, Path) else str(value)


def test_there_is_a_folder_of_this_version() -> None:
    assert OWN_BUILD.version in [version.name for version in VERSIONS]


@pytest.mark.parametrize(("version", "name"), FOLDERS, ids=_id)
def test_every_task_of_every_version_is_read_back(version: Path, name: str, tmp_path: Path) -> None:
    found, wanted = found_in(version, name, tmp_path), expected(version)
    assert found.sums() == wanted[name]
    tasks = wanted["one tasks" if name == "one" else "members tasks"]
    assert found.tasks() == tasks
    assert len(tasks) == len(QUESTIONS)


def replayed(entries: list[Entry]) -> tuple[dict[bytes, bytes], int]:
    """The state that today's version makes of a log from its beginning, and its digest."""
    view, applier = MemoryView(), Applier(MemoryState(Disk()))
    machine = Machine(view)
    for index, term, command in entries[1:]:  # entry 1 is the same no-op in every log
        kind = command[:1]
        assert kind in (b"\0", b"\1"), f"entry {index} of kind {kind!r}"
        if kind == b"\0":
            machine.apply(command[1:])
        applier.applied(index, term, applier.apply(command[1:]) if kind == b"\0" else None)
    return view.values, applier.digests.digest


@pytest.mark.parametrize(("version", "name"), FOLDERS, ids=_id)
def test_the_same_entries_still_do_the_same(version: Path, name: str, tmp_path: Path) -> None:
    """A14: what an entry does at a feature level never changes, on no version, by not one byte."""
    found = found_in(version, name, tmp_path)
    assert found.entries[0][0] == 1, "the whole log is there"
    pairs, digest = replayed(found.entries[: found.index])
    changed = {key for key in {*pairs, *found.pairs} if pairs.get(key) != found.pairs.get(key)}
    assert changed == set(), CHANGED
    assert digest == found.digest


def test_a_change_of_what_an_entry_does_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = found_in(NEWEST, "one", tmp_path)
    monkeypatch.setitem(HANDLERS, CancelTask, lambda state, command: Done())
    pairs, digest = replayed(found.entries[: found.index])
    assert pairs != found.pairs
    assert digest != found.digest


def test_what_is_written_today_is_what_is_kept(tmp_path: Path) -> None:
    for name in ("one", "n1"):
        folder = unpacked(NEWEST, name, tmp_path)
        path = folder / IDENTITY_NAME
        assert encode_identity(decode_identity(path, path.read_bytes())) == path.read_bytes(), (
            CHANGED
        )
        for index, _, command in found_in(NEWEST, name, tmp_path / name).entries:
            if command[:1] == b"\0":
                again = encode_entry(*decode_entry(command[1:]), command[1])
                assert again == command[1:], f"entry {index}: {CHANGED}"
    kept = json.loads((NEWEST / "wire.json").read_text("utf-8"))
    today = wire()
    assert {name for name in kept if kept[name] != today.get(name)} == set(), CHANGED
    assert set(today) == set(kept), "what is new on the wire is kept, too: make it again"


def asked(client: Client, question: QueryStatus) -> list[Any]:
    try:
        return told(client.call(question))
    except NotFound as error:
        return told(refuse(ErrorCode.NOT_FOUND, error.message))


def test_a_node_serves_every_task_of_the_newest(tmp_path: Path) -> None:
    """Through the public door: the folder under a real node."""
    home = tmp_path / "home"
    unpacked(NEWEST, "one", home)
    (home / "one").rename(home / "data")
    with LiveNode(home, {"raft.node_id": "one"}) as node:
        node.spawn()
        asyncio.run(node.serving())
        with Client(node.url) as client:
            tasks = {one.task_id.hex(): asked(client, one) for one in QUESTIONS}
            assert set(counts(client)) == STATES
    assert json.loads(json.dumps(tasks)) == expected(NEWEST)["one tasks"]
