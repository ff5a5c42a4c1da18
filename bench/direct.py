"""A bare connection to one node, which stays there whoever leads: to measure a node itself."""

from __future__ import annotations

import socket
from typing import Any, Self

from taskq.protocol.codec import Reply
from taskq.protocol.connection import ClientConnection

CHUNK_SIZE = 256 * 1024


class DirectConnection:
    """One request after the other, blocking; a context manager. `address`: "host:port"."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 5)
        self._socket.settimeout(30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = ClientConnection()
        self._socket.sendall(self._connection.greet("bench", None))
        while not self._connection.opened:
            self._connection.receive(self._read())

    def _read(self) -> bytes:
        data = self._socket.recv(CHUNK_SIZE)
        if not data:
            raise ConnectionError("the node closed the connection")
        return data

    def ask(self, command: Any) -> Any:
        """Sends a command and waits for its answer."""
        request_id, frame = self._connection.request(command)
        self._socket.sendall(frame)
        while True:
            for event in self._connection.receive(self._read()):
                if isinstance(event, Reply) and event.request_id == request_id:
                    return event.value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
