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

# Guessing a recorded handshake's secret costs this much for each guess: 16 MiB and some 40 ms.
_SCRYPT_N = 1 << 14
_PUBLIC_KEY = bytes(32)


@dataclass(frozen=True, slots=True)
class Trust:
    """Made by the functions below. `loopback_only`: no other machine may reach the port."""

    key: bytes = field(repr=False)
    server_context: ssl.SSLContext | None = None
    client_context: ssl.SSLContext | None = None
    loopback_only: bool = False


def trust_secret(secret: str) -> Trust:
    """Whoever knows the secret (`raft.secret`) is trusted. Takes some 40 ms: call it once."""
    # The salt is fixed, because the ends share nothing but the secret before they talk.
    key = hashlib.scrypt(secret.encode(), salt=b"taskq raft", n=_SCRYPT_N, r=8, p=1, dklen=32)
    return Trust(key)


def trust_certificates(cert_file: Path, key_file: Path, ca_file: Path) -> Trust:
    """Whoever has a certificate of that authority is the node that the certificate names (DNS).

    Raises OSError and ssl.SSLError for files that cannot be read or do not belong together.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # Names are compared by `certifies`: addresses move, and node ids need no valid host name.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca_file)
        context.load_cert_chain(cert_file, key_file)
    return Trust(_PUBLIC_KEY, server, client)


def trust_loopback() -> Trust:
    """Every process of this machine is trusted, and no other machine can reach the port."""
    return Trust(_PUBLIC_KEY, loopback_only=True)


def certifies(ssl_object: ssl.SSLObject | None, node_id: str) -> bool:
    """Whether the peer's verified certificate names `node_id`, exactly: no wildcard, no case, no
    common name."""
    certificate = ssl_object.getpeercert() if ssl_object is not None else None
    names = certificate.get("subjectAltName", ()) if certificate else ()
    return ("DNS", node_id) in names
