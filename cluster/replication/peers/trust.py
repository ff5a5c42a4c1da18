"""Why a node believes another one: a shared secret, certificates, or that both are on this machine.

Whatever the trust, the handshake of `handshake.py` runs: it tells the ends apart, orders their
connections and seals their messages. Without a secret its key is public, and the certificates (or
the loopback address) are what keeps strangers out.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.certificates.port_certificates import PortCertificates

# Guessing a recorded handshake's secret costs this much for each guess: 16 MiB and some 40 ms.
_SCRYPT_N = 1 << 14
_PUBLIC_KEY = bytes(32)


@dataclass(frozen=True, slots=True)
class Trust:
    """Made by the functions below. `loopback_only`: no other machine may reach the port."""

    key: bytes = field(repr=False)
    certificates: PortCertificates | None = None
    loopback_only: bool = False

    @property
    def server_context(self) -> ssl.SSLContext | None:
        """For one connection that comes: asked anew for each, because files change."""
        return None if self.certificates is None else self.certificates.server

    @property
    def client_context(self) -> ssl.SSLContext | None:
        """The same for one that is dialled."""
        return None if self.certificates is None else self.certificates.client


def trust_secret(secret: str) -> Trust:
    """Whoever knows the secret (`raft.secret`) is trusted. Takes some 40 ms: call it once."""
    # The salt is fixed, because the ends share nothing but the secret before they talk.
    key = hashlib.scrypt(secret.encode(), salt=b"taskq raft", n=_SCRYPT_N, r=8, p=1, dklen=32)
    return Trust(key)


def trust_certificates(
    cert_file: Path, key_file: Path, ca_file: Path, *, node_id: str | None = None
) -> Trust:
    """Whoever has a certificate of that authority is the node that the certificate names (DNS);
    the own one has to name `node_id`, if that is given.

    Raises CertificatesRefused for files that cannot be used.
    """
    # Only who has certificates pays for the library that reads them.
    from cluster.certificates.port_certificates import PortCertificates, PortFiles

    files = PortFiles("raft", cert_file, key_file, ca_file, named=node_id)
    # Names are compared by `certifies`: addresses move, and node ids need be no host names.
    certificates = PortCertificates(files, least=ssl.TLSVersion.TLSv1_3, dials=True)
    return Trust(_PUBLIC_KEY, certificates)


def trust_loopback() -> Trust:
    """Every process of this machine is trusted, and no other machine can reach the port."""
    return Trust(_PUBLIC_KEY, loopback_only=True)


def certifies(ssl_object: ssl.SSLObject | None, node_id: str) -> bool:
    """Whether the peer's verified certificate names `node_id`, exactly: no wildcard, no case, no
    common name."""
    certificate = ssl_object.getpeercert() if ssl_object is not None else None
    names = certificate.get("subjectAltName", ()) if certificate else ()
    return ("DNS", node_id) in names
