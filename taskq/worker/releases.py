"""Gives tasks back that were claimed and not run, those of one moment together.

A token stays in the heartbeats until the cluster has answered; where it does not, the lease ends by
itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from taskq.errors import TaskqError
from taskq.results import ClaimedTask
from taskq.worker.held import Held
from taskq.worker.link import TRANSIENT, Link

_log = logging.getLogger("taskq.worker")


class Releases:
    """The releases not yet answered. `changed` is set whenever one has been."""

    def __init__(self, link: Link, held: Held, changed: asyncio.Event) -> None:
        self.open: set[asyncio.Task[None]] = set()
        self._link = link
        self._held = held
        self._changed = changed
        self._waiting: dict[float, list[ClaimedTask]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self.open)

    def put(self, task: ClaimedTask, delay_secs: float = 0.0) -> None:
        """Releases a task, to be claimed again after `delay_secs`."""
        self._waiting[delay_secs].append(task)
        if len(self._waiting[delay_secs]) == 1:
            sending = asyncio.create_task(self._send(delay_secs))
            self.open.add(sending)
            sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self.open.discard(sending)
        self._changed.set()

    async def _send(self, delay_secs: float) -> None:
        tasks = self._waiting.pop(delay_secs)
        try:
            await self._link.release(tasks, delay_secs)
        except (TaskqError, *TRANSIENT) as error:
            reason = str(error) or "no answer in time"
            _log.warning("Tasks not given back, their leases will run out: %s", reason)
        finally:
            for task in tasks:
                self._held.answered(task.token)
