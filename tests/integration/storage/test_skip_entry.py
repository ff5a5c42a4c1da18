"""An entry that stops the node at every start is left out by an explicit act; all else is there."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chaos.live.node import LiveNode, NodeDied
from cluster.replication.applier import Applier
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import DataDamaged, FolderRefused, NewerFormat
from cluster.storage.log_records import LogBatch
from cluster.storage.skipping import add_skip, find_entry
from cluster.storage.skips import SKIPS_NAME, read_skips, write_skips
from taskq import Client
from taskq.cli.main import cli
from taskq.machine.entry import encode_entry
from tests.formats.content import content
from tests.formats.work import STATES, counts
from tests.integration.storage.test_formats import NEWEST
from tests.unit.replication.disk import Disk, MemoryState

POISON = b"\1 which is no entry"


@pytest.fixture
def poisoned(tmp_path: Path) -> tuple[LiveNode, int]:
    """A node whose log ends with an entry that no version can apply, and its index."""
    home = tmp_path / "home"
    with tarfile.open(NEWEST / "one.tar.gz") as packed:
        packed.extractall(home, filter="data")
    (home / "one").rename(home / "data")
    with DataDirectory.open(home / "data", "one") as directory:
        log, state = directory.open_stores()
        index = log.last_index + 1
        log.write(LogBatch(entries=[(index, log.last_term, b"\0" + POISON)]))
        log.close()
        state.close()
    return LiveNode(home, {"raft.node_id": "one"}), index


def skip(folder: Path, index: int, *options: str) -> Any:
    arguments = ["repair", str(folder), "--skip-entry", str(index), *options]
    return CliRunner().invoke(cli, arguments)


def test_the_node_ends_before_it_until_it_is_skipped(poisoned: tuple[LiveNode, int]) -> None:
    node, index = poisoned
    before = content(node.folder, "one", member=False)
    with node:
        node.spawn()
        with pytest.raises(NodeDied, match=f"entry {index} of the log cannot be applied by taskq"):
            asyncio.run(node.serving())
        assert node.returncode == 1
        after = content(node.folder, "one", member=False)
        assert after.index < index
        assert {key: after.pairs[key] for key in before.pairs} == before.pairs
        told = skip(node.folder, index)
        assert (told.exit_code, read_skips(node.folder)) == (1, {}), "nobody said yes"
        assert "the other nodes" in told.output.lower()
        told = skip(node.folder, index, "--accept-loss", "--json")
        assert told.exit_code == 0, told.output
        assert json.loads(told.stdout)["index"] == index
        node.spawn()
        asyncio.run(node.serving())
        with Client(node.url) as client:
            assert set(counts(client)) == STATES
            client.submit("after", b"work goes on")
            assert counts(client)["ready"] > 1
    lines = [line for line in node.log_lines() if line.get("message", "").startswith("an entry is")]
    assert [line["index"] for line in lines] == [index]
    (act,) = [json.loads(line) for line in (node.folder / "audit.log").read_text().splitlines()]
    assert (act["act"], act["index"]) == ("skip an entry", index)


def test_only_what_is_not_applied_and_holds_commands_can_be_skipped(
    poisoned: tuple[LiveNode, int],
) -> None:
    folder, index = poisoned[0].folder, poisoned[1]
    state_index = content(folder, "one", member=False).index
    for wrong, why in (
        (state_index, "is part of the state already"),
        (index + 1, f"to {index}, not {index + 1}"),
    ):
        with pytest.raises(FolderRefused, match=why):
            find_entry(folder, wrong)
    add_skip(folder, find_entry(folder, index))
    assert list(read_skips(folder)) == [index]


def test_another_entry_at_that_index_is_applied(tmp_path: Path) -> None:
    good, store = encode_entry(5, 5, []), MemoryState(Disk())
    for skips, elapsed in (({2: 1}, 5), ({3: 0}, 5)):
        applier = Applier(store, skips=skips)  # type: ignore[arg-type]
        applier.applied(2, 1, applier.apply(good))
        assert applier.machine.elapsed_ms == elapsed


def test_a_spoilt_list_is_refused(tmp_path: Path) -> None:
    write_skips(tmp_path, {7: 8})
    assert read_skips(tmp_path) == {7: 8}
    (tmp_path / SKIPS_NAME).write_text('{"format": 2, "skips": {}}')
    with pytest.raises(NewerFormat):
        read_skips(tmp_path)
    for body in ("", "[]", '{"format": 1}', '{"format": 1, "skips": {"x": 1}}'):
        (tmp_path / SKIPS_NAME).write_text(body)
        with pytest.raises(DataDamaged, match="list of entries to skip"):
            read_skips(tmp_path)
