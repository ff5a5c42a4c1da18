"""Small takers of answers, for the replica's own questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from cluster.replication.packing import Sink
from taskq.errors import ErrorCode, Refusal, refuse

log = structlog.get_logger(__name__)

RETRY_MS = 200


class Reader:
    """Told whether the state may be read."""

    __slots__ = ("_sink", "_tag")

    def __init__(self, sink: Sink, tag: Any) -> None:
        self._sink, self._tag = sink, tag

    def __call__(self, current: bool) -> None:
        text = "this node does not lead (any more)"
        refusal = None if current else refuse(ErrorCode.NO_LEADER, text, RETRY_MS)
        self._sink.deliver(self._tag, refusal)


class Once:
    """Waits for one answer."""

    def __init__(self, answered: asyncio.Future[Any]) -> None:
        self._answered = answered

    def deliver(self, tag: Any, value: Any) -> None:
        if not self._answered.done():
            self._answered.set_result(value)


class Told:
    """Calls `done(value)`."""

    def __init__(self, done: Callable[[Any], None]) -> None:
        self._done = done

    def deliver(self, tag: Any, value: Any) -> None:
        self._done(value)


class Configured:
    """Waits for the node's own Configure."""

    def __init__(self, done: Callable[[], None]) -> None:
        self._done = done

    def deliver(self, tag: Any, value: Any) -> None:
        if isinstance(value, Refusal):
            log.warning("the limits of the configuration were refused", error=value.message)
        self._done()
