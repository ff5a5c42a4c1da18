"""Calls that wait for a connection: filled by `Link`, emptied by `Connection`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from taskq.client.call import Call


class Outbox:
    """Calls that wait to be sent. Those the node may park have a queue of their own."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.parking: deque[Call] = deque()

    def add(self, call: Call) -> None:
        (self.parking if call.parks else self.calls).append(call)

    def give_back(self, calls: list[Call]) -> None:
        """Calls that were sent before all that wait now, in their order."""
        self.calls.extendleft(call for call in reversed(calls) if not call.parks)
        self.parking.extendleft(call for call in reversed(calls) if call.parks)

    def take_all(self) -> list[Call]:
        calls = list(self)
        self.calls.clear()
        self.parking.clear()
        return calls

    def prune(self) -> None:
        """Drops calls that ended while they waited: nobody pops them without a connection."""
        for calls in (self.calls, self.parking):
            alive = [call for call in calls if not call.future.done()]
            calls.clear()
            calls.extend(alive)

    def __iter__(self) -> Iterator[Call]:
        return chain(self.calls, self.parking)

    def __bool__(self) -> bool:
        return bool(self.calls or self.parking)
