"""Hands in outcomes, many in a frame, until the cluster has answered each.

One frame is under way at a time: what ends meanwhile goes into the next one, so that load makes
frames larger. An outcome leaves only with an answer; its token stays in the heartbeats till then.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice

from taskq.commands import TaskResult
from taskq.errors import NotFound, RequestRefused, StaleToken, TaskqError, Unavailable
from taskq.limits import BATCH_COUNT_MAX
from taskq.worker.held import Held, batch_count
from taskq.worker.link import PAUSE_SECS, TRANSIENT, Link

_log = logging.getLogger("taskq.worker")


class Outcomes:
    """The outcomes not yet answered. `changed` is set whenever one has been.

    `counts` gets "completed", "failed" and "dropped" (the lease was lost in between).
    """

    def __init__(
        self, link: Link, held: Held, counts: Counter[str], changed: asyncio.Event
    ) -> None:
        self._link = link
        self._held = held
        self._counts = counts
        self._changed = changed
        self._waiting: deque[TaskResult] = deque()
        self._have_some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, outcome: TaskResult) -> None:
        """Takes an outcome in."""
        self._waiting.append(outcome)
        self._have_some.set()

    async def send_all(self, now: Callable[[], float]) -> None:
        """Sends outcomes for ever. Raises nothing that the cluster can cause."""
        while True:
            if not self._waiting:
                self._have_some.clear()
                await self._have_some.wait()
            if await self._send(BATCH_COUNT_MAX, now):
                continue
            # The frame as a whole was refused: a bad outcome must not take the others with it.
            for _ in range(min(len(self._waiting), BATCH_COUNT_MAX)):
                await self._send(1, now)

    async def _send(self, count_max: int, now: Callable[[], float]) -> bool:
        """Sends one frame. False where it was refused as a whole and holds several outcomes."""
        waiting = list(islice(self._waiting, count_max))
        batch = waiting[: batch_count(waiting, count_max)]
        try:
            answers: list[TaskqError | None] = await self._link.send(batch)
        except TRANSIENT as error:
            _log.warning("Outcomes not answered, sending them again: %s", error)
            await asyncio.sleep(PAUSE_SECS)
            return True
        except RequestRefused as error:
            if len(batch) > 1:
                return False
            answers = [error]
        self._held.contact(now())
        for outcome, problem in zip(batch, answers, strict=True):
            self._waiting.popleft()
            self._take_answer(outcome, problem)
        self._changed.set()
        if any(_worth_repeating(problem) for problem in answers):
            await asyncio.sleep(PAUSE_SECS)
        return True

    def _take_answer(self, outcome: TaskResult, problem: TaskqError | None) -> None:
        if problem is None:
            self._held.answered(outcome.token)
            self._counts["completed" if outcome.ok else "failed"] += 1
            if outcome.ok:
                return
        task_id = uuid.UUID(bytes=outcome.task_id)
        if problem is None:
            last_line = outcome.error.rstrip().rpartition("\n")[2]
            _log.warning("Task %s failed: %s", task_id, last_line)
        elif _worth_repeating(problem):
            self.put(outcome)
        elif outcome.ok and not isinstance(problem, StaleToken | NotFound):
            # Too large, most likely. Left alone, the lease would run out and the same happen again.
            _log.warning("Task %s: result refused: %s", task_id, problem)
            error = f"The result was refused: {problem}"
            self.put(TaskResult(outcome.task_id, outcome.token, False, None, error, False))
        else:
            _log.warning("Task %s: outcome refused and dropped: %s", task_id, problem)
            self._held.answered(outcome.token)
            self._counts["dropped"] += 1


def _worth_repeating(problem: TaskqError | None) -> bool:
    if isinstance(problem, RequestRefused):
        return problem.retry_after > 0 or isinstance(problem, Unavailable)
    return isinstance(problem, TRANSIENT)
