"""The worker's view of the cluster: its requests, in the words of the wire.

`cluster_link.py` gives it through the client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from taskq.commands import Nack, TaskResult
from taskq.errors import (
    ConnectionFailed,
    OutcomeUnknown,
    ProtocolError,
    TaskqError,
    Unavailable,
)
from taskq.results import ClaimedTask, HeartbeatReply

# Errors after which the same request may well succeed.
TRANSIENT = (ConnectionFailed, OutcomeUnknown, ProtocolError, Unavailable, TimeoutError, OSError)
# Seconds of pause after a request that failed although the client had already repeated it.
PAUSE_SECS = 0.5


class Link(Protocol):
    """A worker's session with the cluster. All raise TaskqError; TRANSIENT ones may pass.

    `on_cancel` is called with the token of a run whose cancellation is wanted.
    """

    on_cancel: Callable[[int], None] | None

    async def register(self) -> None:
        """Makes the worker known."""

    async def claim(
        self, queues: Sequence[str], max_tasks: int, wait_secs: float
    ) -> list[ClaimedTask]:
        """Takes up to `max_tasks` tasks; waits up to `wait_secs` for the first."""

    async def heartbeat(
        self, tokens: list[int], cpu_permille: int, memory_size: int
    ) -> HeartbeatReply:
        """Says what is held."""

    async def send(self, outcomes: list[TaskResult]) -> list[TaskqError | None]:
        """Hands in outcomes; for each, in order, None where it was accepted."""

    async def release(self, releases: Sequence[Nack]) -> None:
        """Gives tasks back; those no longer held are no error."""

    async def extend(self, task: ClaimedTask, lease_ms: int | None) -> int:
        """A longer lease from now on, default its usual length; the milliseconds granted."""

    async def deregister(self) -> None:
        """Forgets the worker; what it holds is free again."""

    async def close(self) -> None:
        """Closes the connection."""
