"""When to kill: moments of a node's life at which a crash could hurt, and how to hit them."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from chaos.live.node import LiveNode
from chaos.live.recorder import Recorder

# Names of the phases, as they stand in the results.
ANY, ANSWER, LOG_WRITE, STATE_WRITE = "any moment", "after an answer", "log write", "state write"
STOP, START, START_AGAIN = "stopping", "start-up", "start-up again"
SERVING_PHASES = (ANY, STOP, ANSWER, LOG_WRITE, ANY, STATE_WRITE, LOG_WRITE)
# The state is written about once a second.
STATE_WRITE_SECS = 1.5
LOOK_SECS = 0.0003
# How far into its start a node is killed once it holds the folder.
START_SECS = 0.08
# How long a node that was told to stop is left to it.
STOP_SECS = 0.06


class NeverCame(Exception):
    """The moment to kill at did not come in time."""


class Moments:
    """Waits for moments in the life of `node`, on which the calls of `recorder` work."""

    def __init__(self, node: LiveNode, recorder: Recorder, chance: random.Random) -> None:
        self._node = node
        self._recorder = recorder
        self._random = chance

    async def reply_after(self, moment: float, timeout_secs: float) -> float:
        """Waits for the first accepted request after `moment`; its time. Raises NeverCame."""
        deadline = time.monotonic() + timeout_secs
        while self._recorder.last_reply <= moment:
            self._recorder.answered.clear()
            try:
                await asyncio.wait_for(self._recorder.answered.wait(), 0.1)
            except TimeoutError:
                self._node.is_serving()  # raises if it died
            if time.monotonic() > deadline:
                raise NeverCame("no request was accepted after the restart")
        return self._recorder.last_reply

    async def of(self, phase: str) -> None:
        """Returns at a moment of this phase of a serving node, with a write under way."""
        folder = self._node.folder
        await asyncio.sleep(self._random.uniform(0, 0.25))
        if phase == ANSWER:
            self._recorder.answered.clear()
            await asyncio.wait_for(self._recorder.answered.wait(), 5)
        elif phase == LOG_WRITE:
            await _growth(folder / "log", 5)
        elif phase == STATE_WRITE:
            await _growth(folder / "state", STATE_WRITE_SECS)
        deadline = time.monotonic() + 5
        while not self._recorder.writes_in_flight():
            await asyncio.sleep(0)
            if time.monotonic() > deadline:
                raise NeverCame("no request was under way")

    async def of_stop(self) -> None:
        """Tells the node to stop and returns in the middle of that, or just after."""
        self._node.ask_to_stop()
        await asyncio.sleep(self._random.uniform(0, STOP_SECS))

    async def of_start(self) -> bool:
        """Returns at some moment of a start that has begun; false if it served before that."""
        while not self._node.has_folder():
            if self._node.is_serving():
                return False
            await asyncio.sleep(LOOK_SECS)
        until = time.monotonic() + self._random.uniform(0, START_SECS)
        while time.monotonic() < until:
            if self._node.is_serving():
                return False
            await asyncio.sleep(LOOK_SECS)
        return True


def _written(folder: Path) -> int:
    """Bytes ever put into the write-ahead file in use; changes with every write."""
    newest = max(folder.glob("*.log"), default=None)
    try:
        return 0 if newest is None else newest.stat().st_size
    except FileNotFoundError:  # just replaced
        return 0


async def _growth(folder: Path, timeout_secs: float) -> None:
    """Returns while LevelDB is in the middle of a synced write, or just after it."""
    before = _written(folder)
    deadline = time.monotonic() + timeout_secs
    while _written(folder) == before and time.monotonic() < deadline:  # noqa: ASYNC110  # a file
        await asyncio.sleep(LOOK_SECS)
