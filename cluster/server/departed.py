"""Peers that left while the node did not read from them: an end of stream is met only by reading.

Without this, claims of a worker that is gone stay parked and are given tasks. Asks the kernel where
that can tell (Linux); elsewhere such a session ends with its requests.
"""

from __future__ import annotations

import select
from collections.abc import Iterable

from cluster.server.session import Session

_PEER_CLOSED: int = getattr(select, "POLLRDHUP", 0)


def departed(sessions: Iterable[Session]) -> list[Session]:
    """Those of the sessions that are not read from and whose peers have closed."""
    unread = {fd: each for each in sessions if not each.reads() and (fd := each.descriptor()) >= 0}
    if not unread or not _PEER_CLOSED:
        return []
    poll = select.poll()
    for fd in unread:
        poll.register(fd, _PEER_CLOSED)
    return [unread[fd] for fd, _ in poll.poll(0)]
