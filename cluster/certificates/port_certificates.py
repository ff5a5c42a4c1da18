"""The certificate that a port shows and the authority that it trusts, as TLS contexts.

Read whole and checked before anything is used, at the start and whenever the files change: what
cannot be used is refused in words that name setting and file, and what was there before stays in
force. Every handshake asks for the context anew, so that it uses the newest.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cluster.certificates.certificate import Certificate, read_certificates
from cluster.certificates.errors import CertificatesRefused
from cluster.watched_files import Look, look_at


@dataclass(frozen=True)
class PortFiles:
    """The files of one port. `group` is that of their settings, `ca_key` the name of the setting
    of `ca_file`. `named`: a DNS name that the certificate has to have."""

    group: str
    cert_file: Path
    key_file: Path
    ca_file: Path | None = None
    ca_key: str = "ca_file"
    named: str | None = None

    def settings(self) -> dict[str, Path]:
        """Setting -> file."""
        found = {"cert_file": self.cert_file, "key_file": self.key_file}
        if self.ca_file is not None:
            found[self.ca_key] = self.ca_file
        return {f"{self.group}.{key}": path for key, path in found.items()}


@dataclass(frozen=True)
class _Contexts:
    server: ssl.SSLContext
    anyone: ssl.SSLContext
    client: ssl.SSLContext | None
    expiries: dict[str, datetime]
    look: Look


class PortCertificates:
    """See the module. With `dials` there is a context for the dialling side, too, and both ends
    demand a certificate of the other. Raises CertificatesRefused."""

    def __init__(
        self, files: PortFiles, *, least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, dials: bool
    ) -> None:
        self.files = files
        self._least = least
        self._dials = dials
        self._contexts = self._read()

    @property
    def server(self) -> ssl.SSLContext:
        """For those who come."""
        return self._contexts.server

    @property
    def anyone(self) -> ssl.SSLContext:
        """The same, of whom no certificate is demanded."""
        return self._contexts.anyone

    @property
    def client(self) -> ssl.SSLContext | None:
        """For dialling others."""
        return self._contexts.client

    @property
    def look(self) -> Look:
        """How the files looked when they were read."""
        return self._contexts.look

    def expiries(self) -> dict[str, datetime]:
        """Setting -> when what is in force ends."""
        return self._contexts.expiries

    def reload(self) -> None:
        """Puts the files as they are now in force; raises CertificatesRefused, and changes nothing,
        where they cannot be used."""
        self._contexts = self._read()

    def _read(self) -> _Contexts:
        files = self.files
        settings = files.settings()
        look = look_at(settings.values())
        expiries = self._check()
        with _naming(settings):
            server = self._context(ssl.PROTOCOL_TLS_SERVER)
            anyone = self._context(ssl.PROTOCOL_TLS_SERVER)
            anyone.verify_mode = ssl.CERT_NONE
            client = None
            if self._dials:
                client = self._context(ssl.PROTOCOL_TLS_CLIENT)
                _shake_hands(server, client)
        return _Contexts(server, anyone, client, expiries, look)

    def _check(self) -> dict[str, datetime]:
        """What TLS itself would tell late, or in words that name nothing."""
        files = self.files
        cert, key, *ca = files.settings()
        chain = _certificates(cert, files.cert_file)
        _check_key(cert, files.cert_file, key, files.key_file)
        for one in chain:
            outside = one.outside(datetime.now(UTC))
            if outside:
                raise CertificatesRefused(f"{cert}: {files.cert_file}: {one.subject}: {outside}")
        if files.named is not None and files.named not in chain[0].names:
            names = ", ".join(chain[0].names) or "nobody"
            raise CertificatesRefused(
                f"{cert}: {files.cert_file} names {names}; it has to name {files.named}"
            )
        expiries = {cert: min(one.not_after for one in chain)}
        if files.ca_file is not None:
            # An old authority beside a new one may run out.
            authorities = _certificates(ca[0], files.ca_file)
            expiries[ca[0]] = max(one.not_after for one in authorities)
        return expiries

    def _context(self, protocol: int) -> ssl.SSLContext:
        files = self.files
        context = ssl.SSLContext(protocol)
        context.minimum_version = self._least
        context.options |= ssl.OP_NO_RENEGOTIATION
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0  # nobody comes back with one
        # Whoever dials compares names by itself (`trust.certifies`): ids need be no host names.
        context.check_hostname = False
        if files.ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(files.ca_file)
        context.load_cert_chain(files.cert_file, files.key_file, password=_no_password)
        return context


def _no_password() -> bytes:
    # Without it OpenSSL would ask at the terminal, and the node would stand still.
    raise ValueError("encrypted")


def _certificates(setting: str, path: Path) -> list[Certificate]:
    try:
        return read_certificates(path)
    except OSError as error:
        raise CertificatesRefused(f"{setting}: {path}: {error.strerror}") from error
    except ValueError as error:
        raise CertificatesRefused(f"{setting}: {path} holds no certificate (PEM)") from error


def _check_key(cert: str, cert_file: Path, setting: str, path: Path) -> None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise CertificatesRefused(f"{setting}: {path}: {error.strerror}") from error
    except TypeError as error:
        text = f"{setting}: {path} is encrypted; a node has nobody to ask for the passphrase"
        raise CertificatesRefused(text) from error
    except ValueError as error:
        raise CertificatesRefused(f"{setting}: {path} holds no private key (PEM)") from error
    shown = x509.load_pem_x509_certificates(cert_file.read_bytes())[0].public_key()
    if key.public_key() != shown:
        text = f"{setting}: {path} is not the key of {cert_file} ({cert})"
        raise CertificatesRefused(text)


@contextmanager
def _naming(settings: dict[str, Path]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "verify_message", None)
        text = f"the port would refuse its own certificate: {why}" if why else str(error)
        raise CertificatesRefused(f"{text} ({', '.join(settings)})") from error


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Both ends in memory: raises ssl.SSLError where a node with these files would refuse itself,
    such as a certificate that the authority has not signed."""
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(here, there, server_side=False),
        server.wrap_bio(there, here, server_side=True),
    ]
    # Each flight is answered by the next: three are enough for any handshake.
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
