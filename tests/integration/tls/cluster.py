"""Three nodes, processes of their own, with TLS on every port; links between them can be tapped."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos.live.cluster import free_ports
from chaos.live.node import LiveNode
from taskq import Client
from taskq.commands import GetCluster
from taskq.results import ClusterStatus
from tests.integration.tls.files import LOCAL, Files

NAMES = ("n1", "n2", "n3")
PATIENCE_SECS = 20.0


class TlsCluster:
    """`nodes` by name; `files` are theirs and those of the client "mailer". `through`: the port
    under which the others find a node's Raft port, where that is not its own. `advertised`: the
    host that nodes tell clients, for which their certificates are not."""

    def __init__(
        self,
        home: Path,
        through: Callable[[int], int] = lambda port: port,
        advertised: str | None = None,
    ) -> None:
        self.files = Files(home / "certs")
        self.mailer = self.files.client("mailer")
        ports = free_ports(6)
        self.raft_ports = dict(zip(NAMES, ports[3:], strict=True))
        where = {name: through(port) for name, port in self.raft_ports.items()}
        peers = ",".join(f"{name}={LOCAL}:{port}" for name, port in where.items())
        self.nodes: dict[str, LiveNode] = {}
        for name, port in zip(NAMES, ports, strict=False):
            settings: dict[str, Any] = {
                "raft.enabled": True,
                "raft.node_id": name,
                "raft.port": self.raft_ports[name],
                "raft.peers": peers,
                **self.files.api(name),
                **self.files.raft(name),
                "api.client_ca_file": self.files.ca,
                "monitoring.enable_tls": True,
            }
            if advertised is not None:
                settings["broker.advertise"] = f"{advertised}:{port}"
            (home / name).mkdir()
            self.nodes[name] = LiveNode(home / name, settings, port=port)

    @property
    def tls(self) -> dict[str, Path]:
        """What a client needs beside the url."""
        cert, key = self.mailer
        return {"ca_file": self.files.ca, "cert_file": cert, "key_file": key}

    @property
    def url(self) -> str:
        """All nodes."""
        return "taskqs://" + ",".join(f"{LOCAL}:{node.port}" for node in self.nodes.values())

    def client(self, timeout: float = PATIENCE_SECS) -> Client:
        """A client with a certificate."""
        return Client(self.url, timeout=timeout, **self.tls)

    def status(self) -> ClusterStatus:
        """What the leader knows."""
        with self.client() as client:
            found: ClusterStatus = client.call(GetCluster())
        return found

    def whole(self) -> None:
        """Waits until every node leads or follows."""
        deadline = time.monotonic() + PATIENCE_SECS
        with self.client() as client:
            while True:
                found: ClusterStatus = client.call(GetCluster())
                roles = sorted(member.role for member in found.members)
                if roles == ["follower", "follower", "leader"]:
                    return
                assert time.monotonic() < deadline, roles
                time.sleep(0.02)

    def log(self, name: str) -> str:
        """What a node has logged."""
        return self.nodes[name].log.read_text("utf-8")


@contextmanager
def running(home: Path, **how: Any) -> Iterator[TlsCluster]:
    """A cluster that serves; killed at the end."""
    cluster = TlsCluster(home, **how)
    try:
        for node in cluster.nodes.values():
            node.spawn()
        for node in cluster.nodes.values():
            asyncio.run(node.serving())
        cluster.whole()
        yield cluster
    finally:
        for node in cluster.nodes.values():
            node.kill()


class Taps:
    """Relays on a thread of their own, which keep all that goes through them."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def tap(self, port: int) -> int:
        """The port of a relay to `port`."""

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there = await asyncio.open_connection(LOCAL, port)
            except OSError:
                writer.close()
                return
            await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))

        serving = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(relay, LOCAL, 0), self._loop
        )
        return int(serving.result(5).sockets[0].getsockname()[1])

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                self.heard += data
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()

    def stop(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
