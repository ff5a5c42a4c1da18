"""Requests of clients that wait on this node for the way to the leader, in order.

Most stay for one round of the loop. Those that stay longer have a deadline, which a clock watches.
"""

from __future__ import annotations

import asyncio
from collections import deque

from cluster.server.forward_stream import Forwarded
from cluster.server.wait_clock import WaitClock

# Below so many, requests that ended while they waited are not worth cleaning up.
PRUNE_COUNT = 64


class HeldRequests:
    """See the module. `queue`: what `Stream.send` takes from the left; `clock` watches at most
    `count_max` of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count_max: int) -> None:
        self.clock = WaitClock(loop, count_max)
        self.queue: deque[Forwarded] = deque()

    def __len__(self) -> int:
        return len(self.queue)

    @property
    def full(self) -> bool:
        """Whether no more can wait."""
        return self.clock.full

    def add(self, one: Forwarded) -> None:
        """It waits from now on."""
        one.session.forwarded.add(one)
        self.queue.append(one)

    def end(self, one: Forwarded) -> None:
        """It waits no more, and is about to be answered or carried out."""
        self.clock.remove(one)
        one.session.forwarded.discard(one)

    def watch(self) -> None:
        """What is here at the end of a round stays for longer. In front of one that is watched
        already, all are."""
        for one in reversed(self.queue):
            if one.timed:
                break
            if not one.answered:
                self.clock.add(one)

    def take_next(self) -> Forwarded | None:
        """The one that waits longest, which waits no more; None where none does."""
        while self.queue:
            one = self.queue.popleft()
            if not one.answered:
                self.end(one)
                return one
        return None

    def take_remote(self) -> list[Forwarded]:
        """Those of other nodes, which wait no more."""
        found = [one for one in self.queue if one.session.remote and not one.answered]
        for one in found:
            self.end(one)
        self.prune()
        return found

    def prune(self) -> None:
        """What ended while it waited must not be remembered until there is a leader."""
        queue = self.queue
        while queue and queue[0].answered:
            queue.popleft()
        if len(queue) > 2 * self.clock.count + PRUNE_COUNT:
            left = [one for one in queue if not one.answered]
            queue.clear()
            queue.extend(left)

    def stop(self) -> None:
        """No timer is left behind."""
        self.clock.stop()
