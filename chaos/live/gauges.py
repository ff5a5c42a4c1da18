"""What a running node uses and counts, read from outside: /proc and its metrics."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from chaos.live.node import LiveNode

_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)
WATCH_SECS = 0.05


def anonymous_bytes(pid: int) -> int:
    """Resident anonymous memory of a process (Linux); 0 where it is gone."""
    try:
        found = _ANONYMOUS.search(Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if found is None else int(found[1]) * 1024


def open_files(pid: int) -> int:
    """Files, sockets and the like that a process holds open (Linux); 0 where it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def folder_bytes(folder: Path) -> int:
    """What the files of a folder hold, those of folders in it, too; some may go meanwhile."""
    size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return size


async def metrics(node: LiveNode) -> dict[str, float]:
    """Samples without labels, by name. Raises OSError where the node does not answer."""
    host, _, port = node.addresses()["monitoring"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    assert b" 200 " in head.splitlines()[0], head
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if not sample.labels
    }


def log_counts(nodes: Iterable[LiveNode], *levels: str) -> dict[str, int]:
    """How often which line stands in the nodes' logs at these levels."""
    lines = [line for node in nodes for line in node.log_lines()]
    return dict(
        Counter(
            str(line.get("message", line.get("raw")))
            for line in lines
            if line.get("level") in levels or "raw" in line
        )
    )


class MemoryWatch:
    """The most anonymous memory that nodes use while its block runs, in bytes, by name."""

    def __init__(self, nodes: dict[str, LiveNode]) -> None:
        self._nodes = nodes
        self.most = dict.fromkeys(nodes, 0)

    async def __aenter__(self) -> MemoryWatch:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            for name, node in self._nodes.items():
                if node.running:
                    self.most[name] = max(self.most[name], anonymous_bytes(node.pid))
            await asyncio.sleep(WATCH_SECS)
