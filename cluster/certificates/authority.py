"""A small authority: signs the certificates of nodes and clients. For a first try, and for those
who have no authority of their own. Bytes in, bytes out; files are the caller's.

Nodes get both uses: they serve clients and the other nodes, and dial the other nodes. A client's
certificate can do nothing but show itself, and has no name that a node could have.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Ten years: replacing the authority means touching every machine.
AUTHORITY_DAYS = 3650
# Machines whose clocks are a little behind take a new certificate at once.
_EARLIER = timedelta(hours=1)
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class Pair(NamedTuple):
    """A certificate and its private key, both as PEM. The key is not encrypted."""

    certificate: bytes
    key: bytes


class Authority:
    """See the module. `pair` is its own certificate and key."""

    def __init__(self, pair: Pair) -> None:
        """Raises ValueError where that is no authority, or its key is another's or encrypted."""
        self.pair = pair
        self._certificate = x509.load_pem_x509_certificate(pair.certificate)
        try:
            key = serialization.load_pem_private_key(pair.key, None)
        except TypeError:
            raise ValueError("the key is encrypted") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is not one for an elliptic curve, as made here")
        if key.public_key() != self._certificate.public_key():
            raise ValueError("the key is not that of the certificate")
        self._key = key

    @classmethod
    def new(cls, now: datetime | None = None) -> Authority:
        """A new one, with a name that no other has."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"taskq authority {secrets.token_hex(4)}")
        builder = _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        return cls(_pair(builder.sign(key, hashes.SHA256()), key))

    def issue_node(
        self, node_id: str, hosts: Sequence[str], days: float, now: datetime | None = None
    ) -> Pair:
        """For a node: `hosts` are the names and addresses under which it is reached. Its id is a
        name, too, by which the other nodes know it. Raises ValueError for hosts that are none."""
        names = [x509.DNSName(node_id), *map(_host, hosts)]
        return self._issue(node_id, dict.fromkeys(names), (_SERVER, _CLIENT), days, now)

    def issue_client(self, name: str, days: float, now: datetime | None = None) -> Pair:
        """For clients and workers, to show where `api.client_ca_file` demands it."""
        return self._issue(name, (), (_CLIENT,), days, now)

    def _issue(
        self,
        common_name: str,
        names: Sequence[x509.GeneralName] | dict[x509.GeneralName, None],
        uses: Sequence[x509.ObjectIdentifier],
        days: float,
        now: datetime | None,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._certificate
        latest = issuer.not_valid_after_utc
        builder = _builder(_name(common_name), issuer.subject, key.public_key(), now, days, latest)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        public = cast(ec.EllipticCurvePublicKey, issuer.public_key())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        builder = builder.add_extension(authority, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _pair(builder.sign(self._key, hashes.SHA256()), key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass  # a name
    if not host or not host.isascii() or any(sign.isspace() or sign in ":/@," for sign in host):
        raise ValueError(f"{host!r} is neither a host name nor an address")
    return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime | None,
    days: float,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    now = now or datetime.now(UTC)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - _EARLIER)
        .not_valid_after(end if latest is None else min(end, latest))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), text)
