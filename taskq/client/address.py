"""Where the nodes are: `taskq://KEY@host1:6379,host2:6379`. Never shows the key.

With TLS it is `taskqs://`, and files may follow: `?ca_file=ca.pem&cert_file=a.pem&key_file=a.key`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

from taskq.client.tls import NO_FILES, TlsFiles

PORT_DEFAULT = 6379
URL_DEFAULT = "taskq://127.0.0.1:6379"
URL_VARIABLE = "TASKQ_URL"

_SCHEMES = {"taskq": False, "taskqs": True}


@dataclass(frozen=True)
class Address:
    """One node's address for clients."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Target:
    """A parsed url: the nodes in the order given, the credential, whether TLS is wanted and with
    which files."""

    addresses: tuple[Address, ...]
    key: str | None = field(default=None, repr=False)
    tls: bool = False
    files: TlsFiles = NO_FILES


def parse_url(url: str) -> Target:
    """The target that a url names.

    Raises ValueError that says which part is wrong. The key is in front of the last `@`, may be
    percent-encoded, and is in no message.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise ValueError("url: must start with taskq:// or taskqs://")
    credential, at, hosts = rest.rpartition("@")
    if at and not credential:
        raise ValueError("url: the key in front of '@' is empty")
    if any(f"?{name}=" in credential or f"&{name}=" in credential for name in TlsFiles._fields):
        raise ValueError("url: an '@' in the name of a file is written %40")
    hosts, _, query = hosts.partition("?")
    tls = _SCHEMES[scheme.lower()]
    files = _parse_files(query)
    if any(files) and not tls:
        raise ValueError("url: files of certificates are for taskqs://")
    hosts = hosts.removesuffix("/")
    addresses = tuple(
        _parse_part(part.strip(), f"url: host {number}")
        for number, part in enumerate(hosts.split(","), 1)
    )
    return Target(addresses, unquote(credential) if at else None, tls, files)


def _parse_files(query: str) -> TlsFiles:
    given: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, path = part.partition("=")
        if name not in TlsFiles._fields or not path or name in given:
            allowed = ", ".join(f"{name}=FILE" for name in TlsFiles._fields)
            raise ValueError(f"url: behind '?' may stand {allowed}, each once, with '&' between")
        given[name] = unquote(path)
    return TlsFiles(**given)


def parse_address(text: str) -> Address:
    """`host`, `host:port`, `[IPv6]` or `[IPv6]:port`. Raises ValueError that says what is wrong."""
    return _parse_part(text, "address")


def _parse_part(text: str, where: str) -> Address:
    if any(sign in text for sign in "/?#"):
        raise ValueError(f"{where}: nothing may follow the hosts (a key with '/' ends with '@')")
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError(f"{where}: an IPv6 address is written [::1]:6379, not {text!r}")
        port_text = tail[1:] if tail else None
    elif text.count(":") > 1:
        raise ValueError(f"{where}: an IPv6 address needs brackets: [{text}]")
    else:
        host, colon, tail = text.partition(":")
        port_text = tail if colon else None
    if not host or any(sign.isspace() for sign in host):
        raise ValueError(f"{where}: the host name is {'empty' if not host else 'not one word'}")
    return Address(host, _parse_port(port_text, where))


def _parse_port(text: str | None, where: str) -> int:
    if text is None:
        return PORT_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65_535):
        raise ValueError(f"{where}: port {text[:20]!r} is not a number from 1 to 65535")
    return int(text)
