"""Which files a client takes, and what TLS errors say."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from taskq import AsyncClient, Client
from taskq.client.address import parse_url
from taskq.client.tls import ClientTls, TlsFiles, TlsRefused, failure, given_tls
from tests.integration.tls.files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_arguments_come_before_the_url_and_the_url_before_the_environment() -> None:
    given, in_url, named = TlsFiles("a"), TlsFiles("b", "b", "b"), TlsFiles("c", "c", "c")
    assert given.over(in_url).over(named) == TlsFiles("a", "b", "b")
    assert TlsFiles().over(TlsFiles()).over(named) == named
    # One certificate with the key of another would be a riddle.
    assert TlsFiles(None, "a").over(in_url) == TlsFiles("b", "a", None)


@pytest.mark.parametrize(
    ("url", "files"),
    [
        ("taskqs://a", TlsFiles()),
        ("taskqs://K@a:1,b/?ca_file=/x/ca.pem", TlsFiles("/x/ca.pem")),
        ("taskqs://a?cert_file=c+d.pem&key_file=e%40f%20g", TlsFiles(None, "c+d.pem", "e@f g")),
        ("taskqs://a?ca_file@b", TlsFiles()),  # a key, as odd as keys may be
    ],
)
def test_files_in_urls(url: str, files: TlsFiles) -> None:
    target = parse_url(url)
    assert (target.files, target.tls) == (files, True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("taskqs://a?SECRET=x", "behind '?' may stand ca_file=FILE"),
        ("taskqs://a?ca_file=", "behind '?' may stand"),
        ("taskqs://a?ca_file=x&ca_file=y", "each once"),
        ("taskq://a?ca_file=x", "are for taskqs://"),
        (
            "taskqs://a?ca_file=/home/me@SECRET/ca.pem",
            "an '@' in the name of a file is written %40",
        ),
    ],
)
def test_urls_that_make_no_sense(url: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_url(url)
    assert words in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_files_are_read_when_a_client_is_made(files: Files, tmp_path: Path) -> None:
    cert, key = files.client()
    other = Files(tmp_path / "other").client()[1]
    wrong: list[tuple[dict[str, Path], str]] = [
        ({"ca_file": tmp_path / "no.pem"}, r"ca_file: .*no\.pem: No such file"),
        ({"ca_file": key}, r"ca_file: .* holds no certificate"),
        ({"cert_file": cert, "key_file": other}, r"are no certificate with its key"),
        ({"key_file": key}, "needs cert_file beside it"),
    ]
    for arguments, words in wrong:
        for kind in (Client, AsyncClient):
            with pytest.raises(ValueError, match=words):
                kind("taskqs://a", **arguments)
    with pytest.raises(ValueError, match="needs taskqs:// instead of taskq://"):
        Client("taskq://a", ca_file=files.ca)
    with pytest.raises(ValueError, match="ssl_context: it says all"):
        Client("taskqs://a", ca_file=files.ca, ssl_context=files.context())
    Client("taskqs://a", ca_file=files.ca, cert_file=cert, key_file=str(key)).close()


def test_the_environment_is_for_taskqs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_CA_FILE", "/nowhere/ca.pem")
    Client("taskq://a").close()
    with pytest.raises(ValueError, match=r"^TASKQ_CA_FILE: /nowhere/ca\.pem: No such file"):
        Client("taskqs://a")
    with pytest.raises(ValueError, match=r"^ca_file: /elsewhere/ca\.pem: No such file"):
        Client("taskqs://a?ca_file=/elsewhere/ca.pem")
    monkeypatch.delenv("TASKQ_CA_FILE")
    monkeypatch.setenv("TASKQ_KEY_FILE", "/nowhere/a.key")
    with pytest.raises(ValueError, match=r"^TASKQ_KEY_FILE: needs TASKQ_CERT_FILE beside it"):
        Client("taskqs://a")


def test_changed_files_are_taken_over_and_broken_ones_are_not(files: Files) -> None:
    tls = ClientTls(given_tls(None, files.ca, None, None), TlsFiles(), {})
    first = tls.context()
    assert tls.context() is first
    assert (first.verify_mode, first.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert first.minimum_version >= ssl.TLSVersion.TLSv1_2
    good = files.ca.read_bytes()
    files.ca.write_bytes(b"half")
    assert tls.context() is first
    files.ca.write_bytes(good)
    os.utime(files.ca, (1, 1))
    assert tls.context() is not first


def test_an_encrypted_key_is_refused_and_nobody_is_asked(files: Files) -> None:
    from cryptography.hazmat.primitives import serialization as s

    cert, key = files.client()
    private = s.load_pem_private_key(key.read_bytes(), None)
    how = s.BestAvailableEncryption(b"x")
    key.write_bytes(private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, how))
    with pytest.raises(ValueError, match=r"^key_file: the key is encrypted"):
        Client("taskqs://a", cert_file=cert, key_file=key)


def error_of(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def test_errors_in_words() -> None:
    assert "speaks no TLS: use taskq://" in str(failure(error_of("WRONG_VERSION_NUMBER"), "h"))
    wants = failure(error_of("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "h")
    assert isinstance(wants, TlsRefused)
    assert "wants a client certificate" in str(wants)
    other = failure(error_of("SOMETHING_NEW"), "h")
    assert (type(other) is TlsRefused, str(other)) == (False, "TLS failed: SOMETHING_NEW")
    assert str(failure(ConnectionRefusedError(111, "Connect call failed"), "h")) == (
        "Connection refused"
    )
