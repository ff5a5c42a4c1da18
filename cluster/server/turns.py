"""Questions in turns: how many of them one round of the loop answers, session by session.

    comes --room in this round--> answered
      +--none--> waits in the line of its session --its turn--> answered

One packet asks a thousand times, a thousand questions pass one read barrier, and meanwhile the node
hears nobody. What a round may take is counted, not measured: the same on a busy machine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from cluster.server.quota import ROUND_SIZE_MAX
from cluster.server.requester import Requester, Tag

# Questions about one task that a round answers: some milliseconds.
ROUND_COST = 100
# An answer of so many bytes costs as much again.
_SIZE = ROUND_SIZE_MAX // ROUND_COST


class Turns:
    """See the module. `answer` answers a question at once."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, answer: Callable[[Requester, Tag], None]
    ) -> None:
        self._loop = loop
        self._answer = answer
        self._room = ROUND_COST
        self._scheduled = False
        self._lines: dict[Requester, deque[tuple[Tag, int]]] = {}

    def come(self, session: Requester, tag: Tag, cost: int = 1) -> None:
        """A question. `cost`: `ROUND_COST` for one that looks at very many things."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next_round)
        if self._lines or self._room <= 0:
            self._lines.setdefault(session, deque()).append((tag, cost))
        else:
            self._take(session, tag, cost)

    def _next_round(self) -> None:
        self._room = ROUND_COST
        self._scheduled = bool(self._lines)
        if self._scheduled:
            self._loop.call_soon(self._next_round)
        while self._lines and self._room > 0:
            session = next(iter(self._lines))
            line = self._lines.pop(session)
            tag, cost = line.popleft()
            if line:
                self._lines[session] = line  # behind the others
            self._take(session, tag, cost)

    def _take(self, session: Requester, tag: Tag, cost: int) -> None:
        if session.wants(tag):
            self._room -= cost
        held = session.held
        self._answer(session, tag)
        self._room -= max(session.held - held, 0) // _SIZE
