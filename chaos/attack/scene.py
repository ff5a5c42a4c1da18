"""The cluster under attack: three nodes that want keys, and what they hold while it goes on.

Two forms: `plain` (the client port in the clear, the Raft port with a secret) and `tls`
(certificates everywhere, a client's, too). The keys are in a file that the nodes watch.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import secrets
import signal
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.attack.papers import Papers
from chaos.attack.stranger import Stranger
from chaos.live.cluster import LiveCluster
from taskq import AsyncClient

MIB = 1 << 20
# Whose key is whose: name -> (role, queues).
HOLDERS = {
    "admin": ("admin", "*"),
    "worker": ("worker", "*"),
    "producer": ("producer", "*"),
    "leaver": ("worker", "*"),
    "our_producer": ("producer", "ours.*"),
    "our_worker": ("worker", "ours.*"),
    "our_admin": ("admin", "ours.*"),
}
# What one connection may hold; the rest of a node's limits are as they come.
SETTINGS = {"broker.max_bytes_in_flight": 2 * MIB, "auth.enabled": True}
# A node reads changed keys within some seconds, and at once on SIGHUP.
REVOKE_SECS = 10.0
LOOK_SECS = 0.05


@dataclass(frozen=True)
class Amount:
    """How much of each attack: seconds of noise, connections of a crowd, tries of a kind."""

    noise_secs: float
    crowd: int
    tries: int


@dataclass
class Scene:
    """See the module. `papers`: certificates, None where there are none."""

    cluster: LiveCluster
    home: Path
    amount: Amount
    papers: Papers | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    keys: dict[str, str] = field(default_factory=dict)

    @classmethod
    def plain(cls, home: Path, amount: Amount) -> Scene:
        """With keys, and a secret between the nodes; not running yet."""
        return cls._made(home, amount, {}, None)

    @classmethod
    def tls(cls, home: Path, amount: Amount) -> Scene:
        """With keys and certificates; not running yet."""
        papers = Papers(home / "papers")
        settings = {
            "api.enable_tls": True,
            "api.client_ca_file": papers.ca,
            "monitoring.enable_tls": True,
        }
        return cls._made(home, amount, settings, papers)

    @classmethod
    def _made(
        cls, home: Path, amount: Amount, settings: Mapping[str, Any], papers: Papers | None
    ) -> Scene:
        cluster = LiveCluster(home / "nodes", 3, {**SETTINGS, **settings})
        scene = cls(cluster, home, amount, papers)
        scene.keys = {holder: f"tq_{secrets.token_urlsafe(24)}" for holder in HOLDERS}
        scene._write_keys()
        for name, node in cluster.nodes.items():
            node.config = scene._file
            if papers is not None:
                node.settings |= papers.settings(name)
        return scene

    @property
    def _file(self) -> Path:
        return self.home / "taskq.yaml"

    def _write_keys(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        lines = ["auth:", "  api_keys:"]
        for holder, key in self.keys.items():
            role, queues = HOLDERS[holder]
            digest = hashlib.sha256(key.encode()).hexdigest()
            known = f'hash: "sha256:{digest}", role: {role}, queues: "{queues}", name: {holder}'
            lines.append(f"    - {{{known}}}")
        aside = self._file.with_name("taskq.yaml.new")
        aside.write_text("\n".join(lines) + "\n")
        aside.replace(self._file)

    def revoke(self, holder: str) -> str:
        """Takes a key out of the file, and tells the nodes to look; the key."""
        key = self.keys.pop(holder)
        self._write_keys()
        for node in self.cluster.nodes.values():
            os.kill(node.pid, signal.SIGHUP)
        return key

    # --- ways in ----------------------------------------------------------------------------------

    @property
    def client_ports(self) -> list[int]:
        """Of each node."""
        return [node.port for node in self.cluster.nodes.values()]

    @property
    def raft_ports(self) -> list[int]:
        """Of each node."""
        return list(self.cluster.raft_ports.values())

    @property
    def monitoring_ports(self) -> list[int]:
        """Of each node that serves."""
        addresses = [node.addresses()["monitoring"] for node in self.cluster.nodes.values()]
        return [int(one.rpartition(":")[2]) for one in addresses]

    @property
    def ports(self) -> list[int]:
        """Every port that somebody listens on."""
        return [*self.client_ports, *self.raft_ports, *self.monitoring_ports]

    def context(self) -> ssl.SSLContext | None:
        """What a client that belongs here connects with."""
        return None if self.papers is None else self.papers.context("client")

    def client(self, holder: str) -> AsyncClient:
        """A client that belongs here."""
        urls = self.cluster.url.partition("://")[2]
        if self.papers is None:
            return AsyncClient(f"taskq://{self.keys[holder]}@{urls}", timeout=30)
        return AsyncClient(
            f"taskqs://{self.keys[holder]}@{urls}", timeout=30, **self.papers.client_files()
        )

    # --- what the nodes hold ----------------------------------------------------------------------

    def memory(self) -> list[int]:
        """Anonymous resident memory of each node, in bytes."""
        return [_memory(node.pid) for node in self.cluster.nodes.values()]

    def files(self) -> list[int]:
        """Open descriptors of each node."""
        pids = [node.pid for node in self.cluster.nodes.values()]
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

    def complaints(self) -> list[str]:
        """What the nodes' logs hold that no attack may bring about: bugs, and ends."""
        found = []
        for name, node in self.cluster.nodes.items():
            for line in node.log_lines():
                if line.get("level") == "critical" or "exception" in line or "raw" in line:
                    found.append(f"{name}: {line.get('event') or line.get('raw')}")
        return found

    async def serving(self) -> None:
        """Waits until each node says that it serves."""
        for node in self.cluster.nodes.values():
            await node.serving()

    async def ready(self, within_secs: float) -> None:
        """Waits until each node says that it keeps up. Raises AssertionError."""
        ends = time.monotonic() + within_secs
        while lacking := [one for one in await self._lacking() if one]:
            assert time.monotonic() < ends, "; ".join(lacking)
            await asyncio.sleep(LOOK_SECS)

    async def _lacking(self) -> list[str]:
        """What each node answers to probes, where that is not good."""
        found = []
        for port in self.monitoring_ports:
            for path in ("/livez", "/readyz"):
                async with await Stranger.connect(port, self.context()) as probe:
                    await probe.throw(f"GET {path} HTTP/1.1\r\n\r\n".encode())
                    said = (await probe.rest() or b"no answer").decode()
                good = said.startswith("HTTP/1.1 200")
                found.append("" if good else f"{path} {said.splitlines()[-1]}")
        return found


def _memory(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon: the process has ended")
