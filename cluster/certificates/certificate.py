"""What a certificate says: names, issuer, validity, uses. Read from PEM files or from a peer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

SERVER, CLIENT = "server", "client"
_USES = {ExtendedKeyUsageOID.SERVER_AUTH: SERVER, ExtendedKeyUsageOID.CLIENT_AUTH: CLIENT}


@dataclass(frozen=True, slots=True)
class Certificate:
    """`names` are DNS names and addresses that it is for. `uses`: server, client; empty where it
    sets no bound. `fingerprint`: SHA-256, in hex."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    uses: tuple[str, ...]
    authority: bool
    not_before: datetime
    not_after: datetime
    fingerprint: str

    def outside(self, now: datetime) -> str:
        """Why it is not valid now; empty where it is."""
        if now > self.not_after:
            return f"expired on {self.not_after:%Y-%m-%d %H:%M} UTC"
        if now < self.not_before:
            return f"valid only from {self.not_before:%Y-%m-%d %H:%M} UTC on: is the clock right?"
        return ""


def read_certificates(path: Path) -> list[Certificate]:
    """Every certificate of a PEM file, in its order.

    Raises OSError, and ValueError where there is none or one cannot be read.
    """
    return [_described(one) for one in x509.load_pem_x509_certificates(path.read_bytes())]


def read_der(data: bytes) -> Certificate:
    """One certificate as a peer sends it. Raises ValueError."""
    return _described(x509.load_der_x509_certificate(data))


def _described(certificate: x509.Certificate) -> Certificate:
    return Certificate(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=_names(certificate),
        uses=_uses(certificate),
        authority=_is_authority(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *map(str, addresses))


def _uses(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(_USES.get(one, one.dotted_string) for one in found)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return found.ca
