"""Makes the folders of a released version, with real nodes: `python -m tests.formats.make`.

    tests/formats/<version>/one.tar.gz        a group of one
    tests/formats/<version>/members.tar.gz    three members
    tests/formats/<version>/expected.json     what is in them
    tests/formats/<version>/wire.json         what travels

Run it when a version is released. What is there is kept: later versions must read it. Until its
release a version's own may be made again (`--again`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from chaos.live.cluster import LiveCluster
from chaos.live.node import LiveNode
from cluster.replication.build import OWN_BUILD
from taskq import Client
from tests.formats.content import content
from tests.formats.wire import wire
from tests.formats.work import do

HERE = Path(__file__).parent
# What another start makes anew.
LEFT_OUT = {"lock", "LOCK", "LOG", "LOG.old"}


def make(target: Path, *, again: bool = False) -> None:
    """All four files. Raises FileExistsError where that version was made before."""
    target.mkdir(exist_ok=again)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        expected = {**_one(home / "one"), **asyncio.run(_members(home / "members"))}
        _pack(target / "one.tar.gz", {"one": home / "one" / "data"})
        names = ("n1", "n2", "n3")
        folders = {name: home / "members" / name / "data" for name in names}
        _pack(target / "members.tar.gz", folders)
    _write(target / "expected.json", expected)
    _write(target / "wire.json", wire())


def _one(home: Path) -> dict[str, Any]:
    node = LiveNode(home, {"raft.node_id": "one"})
    with node:
        node.spawn()
        asyncio.run(node.serving())
        with Client(node.url) as client:
            do(client)
        node.terminate()
    found = content(node.folder, "one", member=False)
    return {"one": found.sums(), "one tasks": found.tasks()}


async def _members(home: Path) -> dict[str, Any]:
    with LiveCluster(home) as cluster:
        cluster.start()
        await cluster.whole()
        await asyncio.to_thread(_work, cluster.url)
        await cluster.same_index(still_secs=2.0)
        for node in cluster.nodes.values():
            node.ask_to_stop()
        for node in cluster.nodes.values():
            node.wait(20.0)
        folders = {name: node.folder for name, node in cluster.nodes.items()}
    found = {name: content(folder, name, member=True) for name, folder in folders.items()}
    tasks = [one.tasks() for one in found.values()]
    assert tasks[0] == tasks[1] == tasks[2], "the states differ"
    return {"members tasks": tasks[0], **{name: one.sums() for name, one in found.items()}}


def _work(url: str) -> None:
    with Client(url) as client:
        do(client)


def _pack(target: Path, folders: dict[str, Path]) -> None:
    def kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return None if Path(info.name).name in LEFT_OUT else info

    with tarfile.open(target, "w:gz") as archive:
        for name, folder in sorted(folders.items()):
            archive.add(folder, name, filter=kept)


def _write(target: Path, document: dict[str, Any]) -> None:
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    make(HERE / OWN_BUILD.version, again="--again" in sys.argv)
    sys.stdout.write(f"{HERE / OWN_BUILD.version}\n")
