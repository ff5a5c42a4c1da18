"""The client's side of TLS: which files, the context made of them, and errors in words.

Each file is taken from the argument, else from the url, else from the environment. Files are looked
at again before every dial, so that a worker that runs for months takes over new ones.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import NamedTuple

from taskq.errors import ConnectionFailed

# The first bytes of a TLS alert, by which a port says that it wanted TLS (RFC 8446, section 5.1).
TLS_ALERT = b"\x15\x03"
WANTS_TLS = "this port speaks TLS: use taskqs:// instead of taskq://"
NO_TLS = "this port speaks no TLS: use taskq:// instead of taskqs://"
UNHEARD = (
    " before a word: perhaps it wants a client certificate (cert_file, key_file), or refuses ours"
)
_WANTS_CERTIFICATE = "the node wants a client certificate: cert_file and key_file"

# Of X509_V_ERR_... in OpenSSL's x509_vfy.h.
_OTHER_NAME = {62, 64}
_UNKNOWN_AUTHORITY = {18, 19, 20, 21}
# OpenSSL's reasons, in words that say what to change.
_REASONS = {
    "WRONG_VERSION_NUMBER": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
    "PACKET_LENGTH_TOO_LONG": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": f"no agreement in the TLS handshake; perhaps "
    f"{_WANTS_CERTIFICATE}",
    "TLSV1_ALERT_UNKNOWN_CA": "the node does not trust the authority of our cert_file",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the node refuses our cert_file",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our cert_file has expired",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "our cert_file is not one for clients",
    "UNSUPPORTED_PROTOCOL": "the node speaks no TLS from 1.2 on",
}


class TlsRefused(ConnectionFailed):
    """TLS failed for a reason that trying again does not mend."""


FilePath = str | os.PathLike[str]


class TlsFiles(NamedTuple):
    """Paths of PEM files: the authority that signed the nodes' certificates (None: those that the
    system trusts), and our certificate and its key for nodes that demand one."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def over(self, other: TlsFiles) -> TlsFiles:
        """These, and those of `other` where there is none here. A certificate and its key come from
        the same place."""
        pair = self if self.cert_file or self.key_file else other
        return TlsFiles(self.ca_file or other.ca_file, pair.cert_file, pair.key_file)


class _Names(NamedTuple):
    """What each of the files is called where it was named: a setting, or a variable."""

    ca_file: str
    cert_file: str
    key_file: str


NO_FILES = TlsFiles()
# Setting -> variable of the environment.
VARIABLES = {name: f"TASKQ_{name.upper()}" for name in TlsFiles._fields}


def given_tls(
    context: ssl.SSLContext | None,
    ca_file: FilePath | None,
    cert_file: FilePath | None,
    key_file: FilePath | None,
) -> TlsFiles | ssl.SSLContext:
    """What a client was given as arguments. Raises ValueError for a context beside files."""
    paths = (ca_file, cert_file, key_file)
    files = TlsFiles(*(os.fspath(path) if path else None for path in paths))
    if context is not None and any(files):
        raise ValueError("ssl_context: it says all that ca_file, cert_file and key_file could say")
    return context or files


class ClientTls:
    """Makes the contexts for dials. Raises ValueError for files that cannot be used."""

    def __init__(
        self, given: TlsFiles | ssl.SSLContext, in_url: TlsFiles, env: Mapping[str, str]
    ) -> None:
        self._files = TlsFiles()
        self._names = _Names(*TlsFiles._fields)
        self._seen: object = None
        self._context: ssl.SSLContext | None = None
        if isinstance(given, ssl.SSLContext):
            self._context = given
            return
        named = TlsFiles(*(env.get(variable) or None for variable in VARIABLES.values()))
        here = given.over(in_url)
        files = here.over(named)
        self._names = _names(here)
        if files.key_file and not files.cert_file:
            raise ValueError(f"{self._names.key_file}: needs {self._names.cert_file} beside it")
        self._files = TlsFiles(*(path and os.path.expanduser(path) for path in files))
        if any(files):
            self._seen = self._look()
            self._context = _context(self._files, self._names)

    def context(self) -> ssl.SSLContext:
        """For one dial: made anew where the files have changed and can be used."""
        if self._context is None:
            self._context = ssl.create_default_context()
        if any(self._files) and (seen := self._look()) != self._seen:
            try:
                self._context = _context(self._files, self._names)
            except ValueError:
                return self._context  # half-written perhaps: looked at again at the next dial
            self._seen = seen
        return self._context

    def _look(self) -> object:
        return tuple(_looks(path) for path in self._files if path)


def _looks(path: str) -> tuple[int, ...] | None:
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _names(here: TlsFiles) -> _Names:
    """`here`: what the environment is not asked for."""
    pair = bool(here.cert_file or here.key_file)
    named = zip(TlsFiles._fields, (bool(here.ca_file), pair, pair), strict=True)
    return _Names(*(name if given else VARIABLES[name] for name, given in named))


def _context(files: TlsFiles, names: _Names) -> ssl.SSLContext:
    """Names of nodes are verified, from TLS 1.2 on."""
    for setting, path in zip(names, files, strict=True):
        if path:
            try:
                open(path, "rb").close()
            except OSError as error:
                raise ValueError(f"{setting}: {path}: {error.strerror}") from None
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
    except OSError:  # ssl.SSLError is one
        raise ValueError(f"{names.ca_file}: {files.ca_file} holds no certificate (PEM)") from None
    if files.cert_file:
        try:
            context.load_cert_chain(files.cert_file, files.key_file, _no_password)
        except _Encrypted:
            raise ValueError(
                f"{names.key_file}: the key is encrypted; taskq has nobody to ask for the"
                " passphrase"
            ) from None
        except OSError as error:
            what = getattr(error, "reason", None) or "not PEM"
            where = f"{names.cert_file}, {names.key_file}"
            text = f"{where}: {files.cert_file} and {files.key_file or 'its key'}"
            raise ValueError(f"{text} are no certificate with its key ({what})") from None
    return context


class _Encrypted(Exception):
    """The key wants a passphrase."""


def _no_password() -> bytes:
    # Without it OpenSSL would ask at the terminal.
    raise _Encrypted


def failure(error: OSError, host: str) -> ConnectionFailed:
    """What became of a connection to `host`: TlsRefused where TLS itself is the reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(_of_certificate(error, host))
    if isinstance(error, ssl.SSLError) and error.reason in _REASONS:
        return TlsRefused(_REASONS[error.reason])
    if isinstance(error, ssl.SSLError):
        return ConnectionFailed(f"TLS failed: {error.reason or error.strerror or error}")
    if error.errno is None or error.errno <= 0:
        return ConnectionFailed(error.strerror or str(error) or "closed by the node")
    # In the system's words; asyncio's own repeat the address.
    return ConnectionFailed(os.strerror(error.errno))


def _of_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code in _OTHER_NAME:
        return f"the node's certificate is not for {host!r}, the name that was dialled"
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return (
            "the node's certificate is not signed by an authority that is trusted here: "
            f"ca_file ({VARIABLES['ca_file']}) names one"
        )
    return f"the node's certificate was refused: {error.verify_message}"
