"""Sockets that listen at every address of a host, for the ports that accept by themselves."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any


def listen(
    places: Iterable[tuple[int, tuple[Any, ...]]], port: int, backlog: int
) -> list[socket.socket]:
    """One for each place (family, address), all on one port: that of the first where `port` is 0.

    Raises OSError; then none is left open."""
    listeners: list[socket.socket] = []
    try:
        for family, address in places:
            place = (address[0], port, *address[2:])
            listener = socket.create_server(place, family=family, backlog=backlog)
            listeners.append(listener)
            listener.setblocking(False)
            port = listener.getsockname()[1]
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners
