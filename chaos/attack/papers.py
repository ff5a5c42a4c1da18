"""Certificates for a cluster under attack, and those that its attackers show. All made here."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from cluster.certificates.authority import Authority, Pair

DAYS = 2.0
NAMES = ("n1", "n2", "n3")


class Papers:
    """Two authorities: one for the nodes, one for clients. Files below `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._nodes, self._clients, self._foreign = (Authority.new() for _ in range(3))
        self.ca = self._put("clients-ca", self._clients.pair.certificate)
        self._node_ca = self._put("nodes-ca", self._nodes.pair.certificate)
        for name in NAMES:
            self._keep(name, self._nodes.issue_node(name, ["127.0.0.1", "localhost"], DAYS))
        self._keep("n9", self._nodes.issue_node("n9", ["127.0.0.1"], DAYS))
        # No node's, but of the nodes' authority: it signs web servers, too.
        self._keep("web.example.com", self._nodes.issue_node("web.example.com", ["10.1.2.3"], DAYS))
        self._keep("client", self._clients.issue_client("client", DAYS))
        self._keep("expired", self._clients.issue_client("client", -1.0))
        self._keep("foreign", self._foreign.issue_client("client", DAYS))
        self._keep("foreign-n2", self._foreign.issue_node("n2", ["127.0.0.1"], DAYS))

    def _put(self, name: str, content: bytes) -> Path:
        path = self._folder / f"{name}.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def _keep(self, name: str, pair: Pair) -> None:
        self._put(name, pair.certificate)
        self._put(f"{name}-key", pair.key)

    def _pair(self, name: str) -> tuple[Path, Path]:
        return self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"

    def settings(self, name: str) -> dict[str, Path]:
        """Of node `name`: what it shows to clients and to the other nodes."""
        certificate, key = self._pair(name)
        return {
            "api.cert_file": certificate,
            "api.key_file": key,
            "raft.cert_file": certificate,
            "raft.key_file": key,
            "raft.ca_file": self._node_ca,
        }

    def client_files(self) -> dict[str, Any]:
        """Of a client that belongs here, by the arguments of `AsyncClient`."""
        certificate, key = self._pair("client")
        return {"ca_file": self._node_ca, "cert_file": certificate, "key_file": key}

    def context(self, shown: str | None) -> ssl.SSLContext:
        """What somebody connects with who shows that certificate (None: none), and takes any. Made
        once: reading the files takes longer than a handshake."""
        if shown not in self._contexts:
            self._contexts[shown] = self._context(shown)
        return self._contexts[shown]

    def _context(self, shown: str | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if shown is not None:
            context.load_cert_chain(*self._pair(shown))
        return context
