"""PySyncObj breaks a function of the standard library when it is imported; we mend it."""

from __future__ import annotations

import socket

import cluster.replication.raft  # noqa: F401  # imports PySyncObj


def test_addresses_can_still_be_written_as_text() -> None:
    assert socket.inet_ntop(socket.AF_INET, bytes((127, 0, 0, 1))) == "127.0.0.1"
    assert socket.inet_ntop(socket.AF_INET6, bytes(15) + b"\x01") == "::1"
