"""Whoever changes the members while everything goes wrong: asks again until done, or gives up.

A change may be left half done (a learner that nobody asks for, an entry that is not committed): the
next one begins there. When everything was mended, all machines become members.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence

from chaos.sim.lines import Line, Lines
from chaos.sim.process import PORT
from chaos.sim.world import World
from taskq.commands import AddMember, RemoveMember
from taskq.errors import ErrorCode, Refusal
from taskq.results import ChangeStage, MemberChange

ASK_SECS = 1.0
PAUSE_SECS = 0.2
PATIENCE_SECS = 12.0
# Asking again changes nothing.
FINAL = frozenset(
    {
        *(ErrorCode.WRONG_STATE, ErrorCode.NOT_FOUND, ErrorCode.ALREADY_EXISTS),
        ErrorCode.INVALID_REQUEST,
    }
)

Change = AddMember | RemoveMember


class Operator:
    """See the module. `members()`: those that are committed; `smallest`: fewer are never wanted."""

    def __init__(
        self,
        world: World,
        connect: Callable[[str], Line],
        names: Sequence[str],
        members: Callable[[], set[str]],
        smallest: int,
    ) -> None:
        self._world = world
        self._lines = Lines(connect)
        self._names = list(names)
        self._members = members
        self._smallest = smallest
        self._chance: random.Random = world.generator("operator")
        self._wanted: deque[list[Change]] = deque()
        self._finishing = False
        self.done = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on; ends when all machines are members after `finish`."""
        self._task = loop.create_task(self._run())

    def want(self, leader: str, who: int, number: int) -> str:
        """Another set: by `number` one more, one fewer (`who` 0: the leader), or another in the
        place of one. What is wanted, "" for nothing."""
        members = sorted(self._members())
        spare = [one for one in self._names if one not in members]
        others = [one for one in members if one != leader]
        gone = (
            leader
            if who == 0 and leader in members
            else (others or members)[who % len(members or [1]) - 1]
        )
        kind = number % 3
        if kind == 1 and len(members) <= self._smallest:
            kind = 0
        new = spare[number // 3 % len(spare)] if spare else ""
        if not new:
            kind = 1
        changes: list[Change] = []
        if kind != 1:
            changes.append(AddMember(new, f"{new}:{PORT}"))
        if kind != 0:
            changes.append(RemoveMember(gone))
        self._wanted.append(changes)
        return ", ".join(f"{type(one).__name__} {one.node_id}" for one in changes)

    def finish(self) -> None:
        """Everything is mended: all become members."""
        self._wanted.clear()
        self._finishing = True

    async def _run(self) -> None:
        while not self.done:
            if self._wanted:
                for change in self._wanted.popleft():
                    if not await self._carry_out(change):
                        break
            elif self._finishing:
                await self._add_one()
            await asyncio.sleep(PAUSE_SECS)

    async def _add_one(self) -> None:
        missing = [one for one in self._names if one not in self._members()]
        self.done = not missing
        if missing:
            await self._carry_out(AddMember(missing[0], f"{missing[0]}:{PORT}"))

    async def _carry_out(self, change: Change) -> bool:
        """Whether it is done. Each time another node is asked: all pass it on to the leader."""
        world = self._world
        end = world.now + PATIENCE_SECS
        text = f"{type(change).__name__} {change.node_id}"
        while world.now < end:
            line = self._lines.to(self._chance.choice(self._names))
            answer = await line.ask(change, ASK_SECS)
            if isinstance(answer, MemberChange) and answer.stage == ChangeStage.DONE:
                world.note("members changed", "", f"{text}: {answer.members}")
                return True
            if isinstance(answer, Refusal) and answer.code in FINAL:
                world.note("members refused", "", f"{text}: {answer.message}")
                return False
            world.tell("members asked", "", f"{text}: {answer}")
            if not isinstance(answer, MemberChange):
                line.close()
            await asyncio.sleep(PAUSE_SECS)
        world.note("members given up", "", text)
        return False
