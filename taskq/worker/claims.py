"""Claims tasks: one claim that waits at the broker, or several at once while there is a backlog.

    idle: one claim waits --full answer--> backlog: claims side by side, none waits
     ^                                                        |
     +------------------- an answer that is not full ---------+

A cluster takes milliseconds to answer a claim and hands out only so many tasks with one
(`max_batch_claim`), so that a worker of short tasks needs several under way. How many come at most
is learnt from the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from taskq.results import ClaimedTask

# A claim waits at the broker for this long, then asks again.
WAIT_SECS = 20.0
# Claims under way at once in a backlog.
CLAIMS_MAX = 48
# How many tasks come with a claim where nobody changed `max_batch_claim`.
SIZE_START = 10
SIZE_MAX = 1_000
# Every so many claims ask for twice as many as ever came, to see whether they come.
PROBE_EVERY = 16

# (count, seconds to wait) to tasks.
Claim = Callable[[int, float], Awaitable[list[ClaimedTask]]]


class Claims:
    """The claim loop of one worker.

    `room()`: how many tasks could be taken now, without those asked for. `hungry(asked)`: whether
    runs will soon end with nothing to follow, so that even a small claim is worth its way.
    `changed` is set when either may have become more.
    """

    def __init__(
        self,
        claim: Claim,
        take: Callable[[list[ClaimedTask]], None],
        room: Callable[[], int],
        hungry: Callable[[int], bool],
        changed: asyncio.Event,
        wait_secs: float,
    ) -> None:
        self._claim = claim
        self._take = take
        self._room = room
        self._hungry = hungry
        self._changed = changed
        self._wait_secs = wait_secs
        self._size = SIZE_START
        self._last_short = 0
        self._backlog = False
        self._asked = 0
        self._begun = 0
        self._open: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    async def claim_all(self) -> None:
        """Claims for ever. Raises what a claim raises; its claims end before it does, so that none
        is sent, and nothing taken, after that."""
        try:
            while self._error is None:
                if not self._claim_more():
                    self._changed.clear()
                    await self._changed.wait()
            raise self._error
        finally:
            left = tuple(self._open)
            for claim in left:
                claim.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _claim_more(self) -> bool:
        """Begins a claim if one is due."""
        room = self._room() - self._asked
        if room <= 0:
            return False
        if not self._backlog:
            if self._open:
                return False
            self._begin(min(room, SIZE_MAX), self._wait_secs)
            return True
        if len(self._open) >= CLAIMS_MAX:
            return False
        if room < self._size and not self._hungry(self._asked):
            return False
        probe = self._begun % PROBE_EVERY == 0
        self._begin(min(room, self._size * 2 if probe else self._size, SIZE_MAX), 0.0)
        return True

    def withdraw(self) -> None:
        """Ends the claim that waits, if by now nothing fits any more: runs turned out long. What it
        still brings is given back at once."""
        if not self._backlog and self._room() <= 0:
            for claim in tuple(self._open):
                claim.cancel()

    def _begin(self, count: int, wait_secs: float) -> None:
        self._asked += count
        self._begun += 1
        self._open.add(asyncio.create_task(self._one(count, wait_secs)))

    async def _one(self, count: int, wait_secs: float) -> None:
        tasks: list[ClaimedTask] = []
        try:
            tasks = await self._claim(count, wait_secs)
        except Exception as error:  # noqa: BLE001 - handed to the loop, which raises it
            self._error = error
        finally:
            self._asked -= count
            own = asyncio.current_task()
            assert own is not None, "a claim is a task of its own"
            self._open.discard(own)
        self._learn(count, len(tasks))
        self._changed.set()
        if tasks:
            self._take(tasks)

    def _learn(self, asked: int, got: int) -> None:
        self._backlog = got >= min(asked, self._size)
        if got > self._size:
            self._size = got
        elif 0 < got < min(asked, self._size):
            # Twice in a row the same number, and less than asked for: that is all that ever come.
            if got == self._last_short:
                self._size, self._backlog = got, True
            self._last_short = got
            return
        self._last_short = 0
