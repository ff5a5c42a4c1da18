"""Files of certificates for tests, made by the authority that `taskq certs init` uses."""

from __future__ import annotations

import ssl
from pathlib import Path

from cluster.certificates.authority import Authority, Pair

LOCAL = "127.0.0.1"


class Files:
    """An authority and what it signs, below a folder: `ca.pem`, NAME.pem, NAME.key."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.authority = Authority.new()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.pair.certificate)

    def node(self, name: str, *hosts: str, days: float = 30) -> tuple[Path, Path]:
        """A node's certificate and key, for itself and `hosts`."""
        return self.write(name, self.authority.issue_node(name, hosts or (LOCAL,), days))

    def client(self, name: str = "client", days: float = 30) -> tuple[Path, Path]:
        """A client's."""
        return self.write(name, self.authority.issue_client(name, days))

    def write(self, name: str, pair: Pair) -> tuple[Path, Path]:
        """Where the pair is now; there may have been one before."""
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for path, content in zip(paths, pair, strict=True):
            path.write_bytes(content)
        return paths

    def api(self, name: str, *hosts: str) -> dict[str, object]:
        """Settings under which a node called `name` serves clients with TLS."""
        cert, key = self.node(name, *hosts)
        return {"api.enable_tls": "true", "api.cert_file": cert, "api.key_file": key}

    def raft(self, name: str) -> dict[str, object]:
        """Settings by which a node proves to the others who it is."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        return {"raft.cert_file": cert, "raft.key_file": key, "raft.ca_file": self.ca}

    def context(self) -> ssl.SSLContext:
        """As strict as the newest Python is by default."""
        context = ssl.create_default_context(cafile=self.ca)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context
