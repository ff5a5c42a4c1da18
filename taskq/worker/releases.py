"""Gives tasks back that were claimed and not run, those of one moment together.

A token stays in the heartbeats until the cluster has answered; where it does not, the lease ends by
itself.
"""

from __future__ import annotations

import asyncio
import logging

from taskq.commands import Nack
from taskq.errors import TaskqError
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
        self._waiting: list[Nack] = []

    def __bool__(self) -> bool:
        return bool(self.open)

    def put(self, release: Nack) -> None:
        """Releases a task."""
        self._waiting.append(release)
        if len(self._waiting) == 1:
            sending = asyncio.create_task(self._send())
            self.open.add(sending)
            sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self.open.discard(sending)
        self._changed.set()

    async def _send(self) -> None:
        releases, self._waiting = self._waiting, []
        try:
            await self._link.release(releases)
        except (TaskqError, *TRANSIENT) as error:
            reason = str(error) or "no answer in time"
            _log.warning("Tasks not given back, their leases will run out: %s", reason)
        finally:
            for release in releases:
                self._held.answered(release.token)
