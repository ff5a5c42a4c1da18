"""Whether all nodes of a cluster hold the same: what they say, and what is on their disks (P6)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

from chaos.live.cluster import LiveCluster, NotWhole
from cluster.storage.directory import DataDirectory
from cluster.storage.errors import StorageError
from taskq.commands import GetStats, ListTasks

# A node writes its state to disk once a second.
STILL_SECS = 2.5
PAGE_COUNT = 500
# A worker's end or a mark of the time comes between now and then.
ATTEMPTS_MAX = 5
PAGE_TIMEOUT_SECS = 10.0
CHUNK_SIZE = 1 << 20


async def differences(cluster: LiveCluster) -> list[str]:
    """Waits until nothing moves, asks every node for all its tasks and counts, and compares them;
    then as `on_disk`. A sentence for each difference. Raises NotWhole where they do not come to the
    same index."""
    for _ in range(ATTEMPTS_MAX):
        index = await cluster.same_index(still_secs=STILL_SECS)
        said = {name: await _said(cluster, name) for name in cluster.nodes}
        if await cluster.same_index(still_secs=0.0) == index:
            return [*compare("answers", index, said), *await on_disk(cluster)]
    raise NotWhole("nodes were asked again and again, and something moved each time")


async def on_disk(cluster: LiveCluster) -> list[str]:
    """Waits until nothing moves, kills all nodes, and compares the states on their disks; a
    sentence for each difference. Raises NotWhole where they do not come to the same index."""
    found = ""
    for _ in range(ATTEMPTS_MAX):
        index = await cluster.same_index(still_secs=STILL_SECS)
        cluster.kill(*cluster.nodes)
        held = await asyncio.to_thread(lambda: {one: _held(cluster, one) for one in cluster.nodes})
        found = str(held)
        if len({one.get("index") for one in held.values()}) == 1:
            return compare("disk", index, held)
        cluster.start()
        await cluster.whole()
    raise NotWhole(f"the states on the disks are at different indices: {found}")


def compare(what: str, index: int, each: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each node that does not hold what the first one holds; `each`: by name."""
    (first, wanted), *others = each.items()
    return [
        f"alike: {what} of {name} and {first} differ at index {index}: "
        f"{_first_difference(other, wanted)}"
        for name, other in others
        if other != wanted
    ]


async def _said(cluster: LiveCluster, name: str) -> dict[str, Any]:
    """All tasks by id, and the counts, as the node has them."""
    (stats,) = await cluster.ask(name, GetStats(stale=True), timeout_secs=PAGE_TIMEOUT_SECS)
    found: dict[str, Any] = {"stats": stats._replace(node_id="", leader="")}
    question = ListTasks(limit=PAGE_COUNT, stale=True)
    while True:
        ((tasks, after),) = await cluster.ask(name, question, timeout_secs=PAGE_TIMEOUT_SECS)
        found.update((task.task_id.hex(), task) for task in tasks)
        if after is None:
            return found
        question = question._replace(after=after)


def _held(cluster: LiveCluster, name: str) -> dict[str, Any]:
    """Index and content of the state on the disk of a node that does not run: the number of its
    pairs and a digest of them."""
    try:
        directory = DataDirectory.open(cluster.nodes[name].folder, name)
        try:
            stores = directory.open_member_stores(listed=True)
            try:
                digest = hashlib.sha256()
                for chunk in _chunks(stores.state.export()):
                    digest.update(chunk)
                loss = {"loss": stores.loss} if stores.loss else {}
                return {"index": stores.state.index, "pairs": digest.hexdigest(), **loss}
            finally:
                stores.state.close()
                stores.log.close()
        finally:
            directory.close()
    except StorageError as error:
        return {"error": f"{name}: {error}"}


def _chunks(export: Any) -> Iterator[bytes]:
    while chunk := export.read(CHUNK_SIZE):
        yield chunk


def _first_difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            return f"{key}: {one.get(key)} and {other.get(key)}"
    return "none"
