"""A client as the library is one: finds the leader, repeats within its deadline, writes down what
it asked and heard."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from chaos.history import OK, REFUSED, UNKNOWN, Call, History, Kill
from chaos.sim.lines import LOST, NOT_SENT, Line, Lines
from chaos.sim.world import World
from taskq.errors import ErrorCode, Refusal

# The slowest and the fastest clock of a node: cluster time runs at a rate between them. Durations
# in the history are as short as the fastest makes them.
RATE_MIN, RATE_MAX = 0.9, 1.1
# Some give up before a new leader is found, others wait for it.
ATTEMPT_SECS = (0.6, 1.2, 6.0)
PAUSE_SECS = (0.02, 0.2)
# Try again, somewhere else: nothing was carried out.
ELSEWHERE = frozenset(
    {
        *(ErrorCode.NO_LEADER, ErrorCode.UNAVAILABLE, ErrorCode.TOO_MANY_REQUESTS),
        ErrorCode.DEADLINE_EXCEEDED,
    }
)
# How often a client asks the leader where it knows one, and hangs up when it has waited too long.
TO_LEADER, HANGS_UP = 0.5, 0.5


class Caller:
    """See the module. One call at a time."""

    def __init__(
        self,
        world: World,
        connect: Callable[[str], Line],
        names: Sequence[str],
        history: History,
        chance: random.Random,
    ) -> None:
        self._world = world
        self.lines = Lines(connect)
        self._names = names
        self._history = history
        self._chance = chance
        self._node = chance.choice(names)

    async def call(
        self,
        kind: str,
        request: Any,
        args: dict[str, Any],
        read: Callable[[Any], dict[str, Any]],
        deadline_secs: float,
    ) -> tuple[Call, Any]:
        """Carries it out within the deadline; the record of it, and the reply if there is one."""
        world = self._world
        call = Call(kind, world.now, args)
        self._history.calls.append(call)
        world.counts["calls"] += 1
        value = await self._repeat(call, request, world.now + deadline_secs)
        call.end = world.now
        if isinstance(value, Refusal):
            call.outcome, call.code = REFUSED, value.code
        elif value in (LOST, NOT_SENT):
            call.outcome = UNKNOWN if value == LOST else REFUSED
            call.code = value
        else:
            call.outcome, call.reply = OK, read(value)
        world.note(f"{kind} {call.outcome}", "", f"{args} {call.code} {call.reply}")
        return call, value

    async def _repeat(self, call: Call, request: Any, deadline: float) -> Any:
        maybe = False
        while True:
            left = deadline - self._world.now
            if left <= 0:
                return LOST if maybe else NOT_SENT
            line = self.lines.to(self._node)
            value = await line.ask(request, min(left, self._chance.choice(ATTEMPT_SECS)))
            if value == LOST or (isinstance(value, Refusal) and value.unknown):
                maybe = True
                # For the checkers: what was repeated may have been carried out before.
                self._history.kills.append(Kill(self._world.now, "unknown", {}, served=True))
            elif isinstance(value, Refusal) and value.code in ELSEWHERE:
                pass
            elif value != NOT_SENT:
                if isinstance(value, Refusal) and maybe and value.code != ErrorCode.STALE_TOKEN:
                    return LOST
                return value
            self._go_on(line)
            await asyncio.sleep(self._chance.uniform(*PAUSE_SECS))

    def _go_on(self, line: Line) -> None:
        """Nothing came of it: another node, or the same."""
        chance = self._chance
        if chance.random() < HANGS_UP:
            line.close()
        to_leader = line.leader and chance.random() < TO_LEADER
        self._node = line.leader if to_leader else chance.choice(self._names)
