"""Requests of one connection that have arrived and could not be started yet, in order.

Never more than the chunks that were in hand when the session stopped reading.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cluster.server.quota import REQUEST_COST
from taskq.limits import DEADLINE_MS_DEFAULT
from taskq.protocol.codec import Rejected, Request


class Backlog:
    """See the module. `arrival` is that of its oldest request, in loop time; `size` in bytes."""

    __slots__ = ("_requests", "arrival", "size")

    def __init__(self) -> None:
        self._requests: deque[Request | Rejected] = deque()
        self.arrival = 0.0
        self.size = 0

    def __len__(self) -> int:
        return len(self._requests)

    def append(self, requests: Sequence[Request | Rejected], arrival: float) -> None:
        """Requests that arrived behind those that wait."""
        if not self._requests:
            self.arrival = arrival
        self._requests.extend(requests)
        self.size += sum(map(_cost, requests))

    def put_back(self, requests: Sequence[Request | Rejected], arrival: float) -> None:
        """Requests that could not be started after all, in front of the others."""
        self.arrival = arrival
        self._requests.extendleft(reversed(requests))
        self.size += sum(map(_cost, requests))

    def take(self, now: float) -> tuple[list[Request], list[Request | Rejected]]:
        """Empties it: (those whose senders have given up, the others)."""
        waited_ms = (now - self.arrival) * 1000
        late: list[Request] = []
        fresh: list[Request | Rejected] = []
        for request in self._requests:
            if isinstance(request, Request) and waited_ms > _patience_ms(request):
                late.append(request)
            else:
                fresh.append(request)
        self.clear()
        return late, fresh

    def clear(self) -> None:
        """Drops everything."""
        self._requests.clear()
        self.size = 0


def _patience_ms(request: Request) -> int:
    return request.deadline_ms or DEADLINE_MS_DEFAULT


def _cost(request: Request | Rejected) -> int:
    return REQUEST_COST + (request.size if isinstance(request, Request) else 0)
