"""Looks at the certificate that a port shows, without believing it."""

from __future__ import annotations

import socket
import ssl

from cluster.certificates.certificate import Certificate, read_der


def certificate_at(host: str, port: int, timeout_secs: float) -> Certificate:
    """The one that the port shows to somebody who names `host`. Nothing of it is verified.

    Raises OSError (ssl.SSLError where the port speaks no TLS).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout_secs) as stream,
        # A port that demands a certificate of us shows its own first.
        context.wrap_socket(stream, server_hostname=host) as shaken,
    ):
        shown = shaken.getpeercert(binary_form=True)
    assert shown is not None, "no server comes without a certificate"
    return read_der(shown)
