"""`python -m bench.backup`: what a backup of a long backlog costs, and how long a restore takes.

    fill --> rest --> nothing, backup of a follower, of the leader --> verify, restore --> serving

Commands run as people run them, as processes of their own. Memory of nodes is `RssAnon` of the one
that has most, memory of a command the most that its process had. Service is that of a client which
submits one task at a time: the longest time between two acknowledgements, meanwhile and in as many
seconds before in which nothing else was done.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from bench.backlog import REST_SECS, SETTINGS, TIMEOUT_SECS, Load, Watch
from bench.broker import Cluster
from bench.record import append_backup, circumstances
from chaos.live.node import LiveNode
from taskq import AsyncClient
from taskq.client.identifier import new_task_id
from taskq.commands import GetCluster, SubmitTask
from taskq.limits import KIB, MIB

QUIET_SECS = 10.0
# How often the memory of a command is looked at.
LOOK_SECS = 0.05


class Probe:
    """One submit after the other; the latencies in ms."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.latencies: list[float] = []
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Probe:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        async with AsyncClient(self._url, timeout=TIMEOUT_SECS) as client:
            while True:
                asked = time.perf_counter()
                await client.send(SubmitTask(new_task_id(), "probe", "f", b""))
                self.latencies.append((time.perf_counter() - asked) * 1000)

    def row(self, name: str) -> dict[str, Any]:
        """Median and longest."""
        found = sorted(self.latencies)
        return {
            f"{name}_p50_ms": round(found[len(found) // 2], 2),
            f"{name}_gap_ms": round(found[-1], 1),
        }


async def taskq(*words: str) -> tuple[float, float, dict[str, Any]]:
    """Runs a command: (seconds, MiB that it had at most, its document)."""
    began = time.perf_counter()
    command = (sys.executable, "-m", "taskq.cli", *words, "--json")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    most = 0
    ending = asyncio.create_task(process.communicate())
    while not ending.done():
        most = max(most, _rss_anon(process.pid))
        await asyncio.wait([ending], timeout=LOOK_SECS)
    text = (await ending)[0].decode()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: {text}")
    return time.perf_counter() - began, most / MIB, json.loads(text)


def _rss_anon(pid: int) -> int:
    """Bytes; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * KIB for line in lines if line.startswith("RssAnon")), 0)


async def _backups(cluster: Cluster, url: str, file: Path, watch: Watch) -> dict[str, Any]:
    """Of a follower, then of the leader; the file is the second's."""
    row: dict[str, Any] = {}
    async with Probe(url) as probe:
        await asyncio.sleep(QUIET_SECS)
    row |= probe.row("quiet")
    async with AsyncClient(url, timeout=TIMEOUT_SECS) as client:
        leader = (await client.call(GetCluster())).leader
    follower = next((name for name in cluster.brokers if name != leader), leader)
    for name, node in (("follower", follower), ("leader", leader)):
        await asyncio.sleep(REST_SECS)
        before = watch.now()
        watch.most()
        async with Probe(url) as probe:
            options = ("--node", node, "--overwrite", "--url", url)
            secs, memory, document = await taskq("backup", "create", str(file), *options)
        row |= probe.row(name)
        row |= {
            f"{name}_secs": round(secs, 1),
            f"{name}_memory": round(watch.most() - before / MIB, 1),
            f"{name}_command_memory": round(memory, 1),
            "file_size": document["size"],
        }
    return row


async def _restore(file: Path, folder: Path) -> dict[str, Any]:
    """Verify, restore, and the start of the restored node up to its first answer."""
    secs, memory, document = await taskq("backup", "verify", str(file))
    row = {
        "verify_secs": round(secs, 1),
        "verify_memory": round(memory, 1),
        "tasks_found": document["tasks"],
    }
    where = ("--data-dir", str(folder / "data"), "--form", "single")
    secs, memory, _ = await taskq("backup", "restore", str(file), *where)
    row |= {"restore_secs": round(secs, 1), "restore_memory": round(memory, 1)}
    node = LiveNode(folder, SETTINGS)
    began = time.perf_counter()
    node.spawn()
    try:
        async with AsyncClient(node.url, timeout=TIMEOUT_SECS) as client:
            states = (await client.stats()).states
        row["serving_secs"] = round(time.perf_counter() - began, 2)
        assert sum(states.values()) == row["tasks_found"], states
    finally:
        node.kill()
    return row


async def _measure(cluster: Cluster, tasks: int, size: int, scratch: Path) -> dict[str, Any]:
    async with Watch(cluster) as watch:
        async with AsyncClient(cluster.url, timeout=TIMEOUT_SECS) as client:
            await Load(client, ["backlog"], size).fill(["backlog"], tasks, lambda _: None)
        await asyncio.sleep(REST_SECS)
        row = await _backups(cluster, cluster.url, scratch / "file.bak", watch)
    cluster.kill()
    return row | await _restore(scratch / "file.bak", scratch)


@click.command()
@click.option("--tasks", default=1_000_000, show_default=True, help="Tasks that wait.")
@click.option("--size", default=100, show_default=True, help="Bytes of each payload.")
@click.option("--nodes", default=3, show_default=True, help="Nodes of the cluster.")
@click.option("--keep/--no-keep", default=True, help="Append to bench/backup.jsonl.")
def main(tasks: int, size: int, nodes: int, keep: bool) -> None:
    """Back up a long backlog under a probe, check it, restore it."""
    scratch = Path(tempfile.mkdtemp(prefix="taskq-bench-"))
    try:
        with Cluster(nodes, SETTINGS) as cluster:
            row = asyncio.run(_measure(cluster, tasks, size, scratch))
    finally:
        shutil.rmtree(scratch)
    row = {**circumstances(), "tasks": tasks, "size": size, "nodes": nodes, **row}
    if keep:
        append_backup(row)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
