"""Making certificates, reading them, and refusing those that cannot be used, in words."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cluster.certificates.authority import AUTHORITY_DAYS, Authority, Pair
from cluster.certificates.care import CertificateCare
from cluster.certificates.certificate import CLIENT, SERVER, read_certificates
from cluster.certificates.errors import CertificatesRefused
from cluster.certificates.port_certificates import PortCertificates, PortFiles
from cluster.server.certificate_metrics import CertificateMetrics
from cluster.watched_files import WatchedFiles
from tests.integration.tls.files import LOCAL, Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def raft(files: Files, name: str = "node1") -> PortFiles:
    return PortFiles(
        "raft", files.folder / f"{name}.pem", files.folder / f"{name}.key", files.ca, named=name
    )


# --- what they say --------------------------------------------------------------------------------


def test_a_node_serves_and_dials_under_its_id_and_its_hosts(files: Files) -> None:
    cert, key = files.node("node_1", "taskq-0.taskq", "10.0.0.1", "[::1]", "10.0.0.1")
    (found,) = read_certificates(cert)
    assert found.names == ("node_1", "taskq-0.taskq", "10.0.0.1", "::1")
    assert (found.uses, found.authority) == ((SERVER, CLIENT), False)
    left = found.not_after - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    (authority,) = read_certificates(files.ca)
    assert (found.issuer, authority.authority) == (authority.subject, True)
    assert b"PRIVATE KEY" in key.read_bytes()


def test_a_client_has_no_name_that_a_node_could_have(files: Files) -> None:
    (found,) = read_certificates(files.client("node1")[0])
    assert (found.subject, found.names, found.uses) == ("CN=node1", (), (CLIENT,))


def test_nothing_outlives_its_authority(files: Files) -> None:
    (found,) = read_certificates(files.node("node1", days=2 * AUTHORITY_DAYS)[0])
    assert found.not_after == read_certificates(files.ca)[0].not_after


def test_two_authorities_have_two_names() -> None:
    one, other = (Authority.new().pair.certificate for _ in range(2))
    assert one != other


@pytest.mark.parametrize("host", ["", "a b", "taskq://x", "x:1", "ü"])
def test_hosts_that_are_none(files: Files, host: str) -> None:
    with pytest.raises(ValueError, match="neither a host name nor an address"):
        files.authority.issue_node("node1", [host], 1)


def test_an_authority_is_read_again(files: Files) -> None:
    pair = files.authority.pair
    again = Authority(pair).issue_node("node2", [LOCAL], 1)
    files.write("node2", again)
    assert PortCertificates(raft(files, "node2"), dials=True).client is not None
    with pytest.raises(ValueError, match="not that of the certificate"):
        Authority(Pair(pair.certificate, Authority.new().pair.key))


# --- what a port takes ----------------------------------------------------------------------------


def spoil_key(files: Files) -> None:
    files.folder.joinpath("node1.key").write_bytes(Authority.new().pair.key)


def encrypt_key(files: Files) -> None:
    from cryptography.hazmat.primitives import serialization as s

    path = files.folder / "node1.key"
    key = s.load_pem_private_key(path.read_bytes(), None)
    how = s.BestAvailableEncryption(b"x")
    path.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, how))


def other_authority(files: Files) -> None:
    files.ca.write_bytes(Authority.new().pair.certificate)


def other_node(files: Files) -> None:
    files.write("node1", files.authority.issue_node("node2", [LOCAL], 1))


def only_client(files: Files) -> None:
    files.write("node1", files.authority.issue_client("node1", 1))


def expired(files: Files) -> None:
    files.node("node1", days=-1)


def no_ca(files: Files) -> None:
    files.ca.write_bytes(b"")


def no_file(files: Files) -> None:
    files.folder.joinpath("node1.pem").unlink()


SPOILT = [
    (spoil_key, r"raft\.key_file: .*node1\.key is not the key of .*node1\.pem"),
    (encrypt_key, r"raft\.key_file: .* is encrypted"),
    (other_authority, r"would refuse its own certificate: .*raft\.ca_file"),
    (other_node, r"raft\.cert_file: .* names node2, 127\.0\.0\.1; it has to name node1"),
    (only_client, r"raft\.cert_file: .* names nobody; it has to name node1"),
    (expired, r"raft\.cert_file: .*CN=node1: expired on 20"),
    (no_ca, r"raft\.ca_file: .* holds no certificate \(PEM\)"),
    (no_file, r"raft\.cert_file: .*node1\.pem: No such file"),
]


@pytest.mark.parametrize(("spoil", "words"), SPOILT, ids=lambda one: getattr(one, "__name__", ""))
def test_what_cannot_be_used_is_refused_and_the_old_stays(
    files: Files, spoil: Callable[[Files], None], words: str
) -> None:
    files.node("node1")
    port = PortCertificates(raft(files), dials=True)
    before = port.server, port.client, port.expiries()
    spoil(files)
    with pytest.raises(CertificatesRefused, match=words):
        PortCertificates(raft(files), dials=True)
    with pytest.raises(CertificatesRefused, match=words):
        port.reload()
    assert (port.server, port.client, port.expiries()) == before


def test_new_files_give_new_contexts(files: Files) -> None:
    files.node("node1")
    port = PortCertificates(raft(files), dials=True)
    before = port.server
    files.node("node1", days=60)
    port.reload()
    assert port.server is not before
    assert port.expiries()["raft.cert_file"] > datetime.now(UTC) + timedelta(days=59)


def test_contexts_are_made_for_safety(files: Files) -> None:
    files.node("node1")
    port = PortCertificates(raft(files), dials=True, least=ssl.TLSVersion.TLSv1_3)
    assert port.client is not None
    for context in (port.server, port.client):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    api = PortCertificates(replace(raft(files), ca_file=None), dials=False)
    assert api.server.verify_mode is api.anyone.verify_mode is ssl.CERT_NONE
    assert api.server.minimum_version is ssl.TLSVersion.TLSv1_2
    assert api.server.options & ssl.OP_NO_RENEGOTIATION
    demanding = PortCertificates(raft(files), dials=False)
    assert demanding.server.verify_mode is ssl.CERT_REQUIRED
    assert demanding.anyone.verify_mode is ssl.CERT_NONE


# --- care -----------------------------------------------------------------------------------------


class Wall:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


class Loop:
    """Timers that never fire."""

    def call_later(self, *_: object) -> Loop:
        return self

    def cancel(self) -> None:
        """Nothing is under way."""


def test_an_end_is_told_from_two_weeks_before_once_a_day(files: Files) -> None:
    files.node("node1", days=30)
    wall = Wall()
    port = PortCertificates(raft(files), dials=True)
    care = CertificateCare(Loop(), None, port, wall)  # type: ignore[arg-type]
    told = []
    for _ in range(2 * 31):
        with capture_logs() as lines:
            care.warn()
        told += [(line["event"], line["setting"], line["days"]) for line in lines]
        wall.now += timedelta(hours=12)
    assert len(told) == 15
    assert told[0] == ("a certificate expires soon", "raft.cert_file", 14.0)
    assert told[-1][0] == "a certificate has expired"


def test_changed_files_are_taken_over_or_refused_in_the_log(files: Files) -> None:
    files.node("node1")
    port = PortCertificates(raft(files), dials=True)
    care = CertificateCare(Loop(), None, port)  # type: ignore[arg-type]
    watched = WatchedFiles(Loop())  # type: ignore[arg-type]
    care.start(watched)
    spoil_key(files)
    with capture_logs() as lines:
        watched.reload()
    assert lines[0]["event"] == "new certificates were refused, the old ones stay"
    assert re.search("is not the key of", lines[0]["why"])
    files.node("node1", days=90)
    with capture_logs() as lines:
        watched.reload()
    assert [line["event"] for line in lines] == ["new certificates were taken over"]
    (family,) = CertificateMetrics(care.ports).collect()
    assert {one.labels["setting"] for one in family.samples} == {"raft.cert_file", "raft.ca_file"}
    assert min(one.value for one in family.samples) == port.expiries()["raft.cert_file"].timestamp()
