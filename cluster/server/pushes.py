"""On which connection a worker is: where a wanted cancellation is pushed to.

A worker that is not known here hears of it in the answer to its next heartbeat, so forgetting one
costs time, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.server.requester import Requester
from taskq.commands import CancelRequested
from taskq.limits import WORKER_COUNT_MAX
from taskq.machine.state import CancelWanted


class WorkerLinks:
    """Worker id -> the session on which it last claimed, registered or sent a heartbeat."""

    __slots__ = ("_links",)

    def __init__(self) -> None:
        self._links: dict[bytes, Requester] = {}

    def __len__(self) -> int:
        return len(self._links)

    def note(self, worker_id: bytes, session: Requester) -> None:
        """The worker was heard on this session."""
        known = self._links.get(worker_id)
        if known is session:
            return
        if known is not None:
            known.workers.pop(worker_id, None)
        elif len(self._links) >= WORKER_COUNT_MAX:
            # Ids are the sender's choice: whoever makes up many loses its own pushes first.
            crowd = session.workers or self._links
            self.forget(next(iter(crowd)))
        self._links[worker_id] = session
        session.workers[worker_id] = None

    def forget(self, worker_id: bytes) -> None:
        """The worker said good-bye."""
        session = self._links.pop(worker_id, None)
        if session is not None:
            session.workers.pop(worker_id, None)

    def drop(self, session: Requester) -> None:
        """The session's connection was lost."""
        for worker_id in session.workers:
            del self._links[worker_id]
        session.workers.clear()

    def push_cancels(self, cancels: Iterable[CancelWanted]) -> None:
        """Tells the workers that run these tasks."""
        for wanted in cancels:
            session = self._links.get(wanted.worker_id)
            if session is not None:
                session.push(CancelRequested(wanted.task_id, wanted.token))
