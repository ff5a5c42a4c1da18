"""Socket options of a connection between nodes."""

from __future__ import annotations

import socket

# A silent peer machine is noticed after 5 + 3 * 2 seconds, long after Raft has; this frees sockets.
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}


def tune(stream: socket.socket, stall_secs: float) -> None:
    """No delay for small messages; half-open connections end by themselves. Options that the system
    lacks are left out."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = dict(KEEPALIVE, TCP_USER_TIMEOUT=int(stall_secs * 1000))
    for name, value in options.items():
        option = getattr(socket, name, None)
        if option is not None:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)
