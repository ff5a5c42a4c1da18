"""Carries out calls of a client and writes down what was asked and what was heard."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from chaos.history import OK, REFUSED, UNKNOWN, WRITES, Call, History
from taskq import AsyncClient, ConnectionFailed, OutcomeUnknown, RequestRefused, TaskqError

# The client was sure that no attempt was sent.
NOT_SENT = "NOT_SENT"


class Recorder:
    """Fills a history. `answered` is set whenever a reply arrives: a kill may wait for one."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.answered = asyncio.Event()
        self.last_reply = 0.0
        self._open: dict[int, tuple[Call, AsyncClient]] = {}

    def in_flight(self) -> dict[str, int]:
        """Open calls by kind whose client has a connection now: sent, or about to be."""
        kinds = (call.kind for call, client in self._open.values() if client.channel.connected)
        return dict(Counter(kinds))

    def writes_in_flight(self) -> int:
        """How many of them change state and wait for nothing but the node."""
        found = self.in_flight()
        return sum(found.get(kind, 0) for kind in WRITES)

    async def run(
        self,
        client: AsyncClient,
        kind: str,
        args: dict[str, Any],
        request: Awaitable[Any],
        read: Callable[[Any], dict[str, Any]],
        begun: Callable[[Call], None] = lambda call: None,
    ) -> Call:
        """One call; `read` makes of the reply what is kept. `begun` gets it before its outcome is
        known. Never raises TaskqError."""
        (call,) = await self.batch(client, kind, [args], _alone(request), read, begun)
        return call

    async def batch(
        self,
        client: AsyncClient,
        kind: str,
        members: list[dict[str, Any]],
        request: Awaitable[list[Any]],
        read: Callable[[Any], dict[str, Any]],
        begun: Callable[[Call], None] = lambda call: None,
    ) -> list[Call]:
        """Calls that travel together; `request` gives a reply or an error for each."""
        now = time.monotonic()
        calls = [Call(kind, now, args) for args in members]
        self.history.calls += calls
        for call in calls:
            self._open[id(call)] = (call, client)
            begun(call)
        try:
            answers = await request
            assert len(answers) == len(calls), "an answer for each member"
        except TaskqError as error:
            answers = [error] * len(calls)
        finally:
            for call in calls:
                del self._open[id(call)]
        end = time.monotonic()
        for call, answer in zip(calls, answers, strict=True):
            call.end = end
            _settle(call, answer, read)
        if any(call.ok for call in calls):
            self.last_reply = end
            self.answered.set()
        return calls


async def _alone(request: Awaitable[Any]) -> list[Any]:
    return [await request]


def _settle(call: Call, answer: Any, read: Callable[[Any], dict[str, Any]]) -> None:
    if isinstance(answer, OutcomeUnknown):
        call.outcome = UNKNOWN
    elif isinstance(answer, RequestRefused):
        call.outcome, call.code = REFUSED, str(answer.code)
    elif isinstance(answer, ConnectionFailed):
        call.outcome, call.code = REFUSED, NOT_SENT
    elif isinstance(answer, TaskqError):
        raise answer  # a broken protocol is nothing to write down
    else:
        call.outcome, call.reply = OK, read(answer)
