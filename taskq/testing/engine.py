"""The machine, its clock, and requests that wait: what a leader does, without a log or a network.

    request --> an entry of its own --> answer; then whoever waited for what it did is answered
    advance --> entry by entry to each moment at which something is due, exactly then

Pure: no sockets, no threads, no clock of its own. Not safe across threads: `Broker` sees to that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from taskq import commands
from taskq.client.identifier import new_task_id
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.claim import why_no_claim
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Applied, Machine
from taskq.machine.settings import Settings
from taskq.machine.state import CancelWanted
from taskq.machine.view import MemoryView
from taskq.registry import MESSAGE_OF, Sort
from taskq.results import Claimed, ClusterStatus, MemberRole, MemberView, Upgraded

NODE_ID = "memory"
CLUSTER_ID = "in-memory-broker"


@dataclass(eq=False)
class Waiting:
    """A request that is answered later: when it has what it wants, or at `until_ms` (cluster time)
    with what there is then."""

    command: Any
    answer: Callable[[Any], None]
    until_ms: int


class Engine:
    """See the module. `on_cancel` is told of running tasks that should stop.

    Raises ValueError for settings that the machine does not know.
    """

    def __init__(
        self,
        start_wall_ms: int,
        settings: Mapping[str, int],
        on_cancel: Callable[[CancelWanted], None],
    ) -> None:
        self.machine = Machine(MemoryView())
        self.elapsed_ms = 0
        self.entry_count = 0
        self._start_wall_ms = start_wall_ms
        self._on_cancel = on_cancel
        # By arrival: first come, first served.
        self._claims: dict[Waiting, None] = {}
        self._queries: dict[Waiting, None] = {}
        known = Settings().as_map()
        for name in settings:
            if name not in known:
                raise ValueError(f"settings: {name!r} is none of {', '.join(sorted(known))}")
        self._carry_out(commands.Configure({**known, **settings}), _nobody)

    @property
    def wall_ms(self) -> int:
        """Unix time in milliseconds, as far as tasks are concerned."""
        return self._start_wall_ms + self.elapsed_ms

    # --- requests ---------------------------------------------------------------------------------

    def take(self, command: Any, patience_ms: int, answer: Callable[[Any], None]) -> Waiting | None:
        """Carries out a request and calls `answer` with its reply or a `Refusal`, now or later;
        what waits, where it is later. It waits no longer than `patience_ms`, 0: as long as asked.
        """
        shape = type(command)
        if shape is commands.ClaimTask:
            return self._claim(command, patience_ms, answer)
        if shape is commands.QueryStatus:
            return self._query(command, patience_ms, answer)
        if shape is commands.GetCluster:
            answer(self._status())
        elif shape is commands.BeginBackup:
            answer(refuse(ErrorCode.WRONG_STATE, "the broker in memory has no disk to read"))
        elif shape in (commands.ReadBackup, commands.EndBackup):
            answer(refuse(ErrorCode.NOT_FOUND, "no such backup"))
        elif shape is commands.UpgradeCluster:
            answer(self._level(command.level))
        elif shape is commands.TransferLeadership:
            answer(refuse(ErrorCode.WRONG_STATE, "the broker in memory has no other member"))
        elif shape in (commands.AddMember, commands.RemoveMember):
            answer(refuse(ErrorCode.WRONG_STATE, "the broker in memory has no members to change"))
        elif MESSAGE_OF[shape].sort is Sort.READ:
            answer(self._read(command))
        else:
            if shape is commands.DeregisterWorker:
                self._withdraw(command.worker_id)
            self._carry_out(_with_ids(command), answer)
        return None

    def drop(self, waiting: Waiting) -> None:
        """Nobody waits for the answer any more."""
        self._claims.pop(waiting, None)
        self._queries.pop(waiting, None)

    def expire(self, waiting: Waiting) -> None:
        """Answers what still waits with what there is now."""
        if waiting not in self._claims and waiting not in self._queries:
            return
        self.drop(waiting)
        command = waiting.command._replace(wait_ms=0)
        assert self.take(command, 0, waiting.answer) is None

    def _claim(
        self, command: commands.ClaimTask, patience_ms: int, answer: Callable[[Any], None]
    ) -> Waiting | None:
        refusal = why_no_claim(command)
        if refusal is not None:
            answer(refusal)
            return None
        known = self.machine.has_claim(command.worker_id, command.claim_number)
        if known or not command.wait_ms or self.machine.has_ready(command.queues):
            value, applied = self._apply(command)
            if known or not command.wait_ms or type(value) is Refusal or value.tasks:
                answer(value)
                self._settle(applied)
                return None
            self._settle(applied)  # what was ready had passed its TTL
        return self._wait(self._claims, command, patience_ms, answer)

    def _withdraw(self, worker_id: bytes) -> None:
        """A worker that deregisters takes nothing more: it would be known again."""
        count_max = self.machine.settings.max_batch_claim
        for waiting in [w for w in self._claims if w.command.worker_id == worker_id]:
            self.drop(waiting)
            waiting.answer(Claimed([], min(waiting.command.max_tasks, count_max)))

    def _query(
        self, command: commands.QueryStatus, patience_ms: int, answer: Callable[[Any], None]
    ) -> Waiting | None:
        if not command.wait_ms or self.machine.is_final(command.task_id) is not False:
            answer(self._read(command))
            return None
        return self._wait(self._queries, command, patience_ms, answer)

    def _wait(
        self,
        line: dict[Waiting, None],
        command: Any,
        patience_ms: int,
        answer: Callable[[Any], None],
    ) -> Waiting:
        wait_ms = min(command.wait_ms, patience_ms or command.wait_ms)
        waiting = Waiting(command, answer, self.elapsed_ms + wait_ms)
        line[waiting] = None
        return waiting

    def _read(self, command: Any) -> Any:
        reply = self.machine.ask(command)
        if type(command) is commands.GetStats:
            node = {"node_id": NODE_ID, "leader": NODE_ID, "term": 1}
            return reply._replace(**node, applied_index=self.entry_count)
        return reply

    def _level(self, wanted: int) -> Upgraded | Refusal:
        level = self.machine.level
        if wanted in (0, level):
            return Upgraded(level, level)
        text = f"the broker in memory stays at feature level {level}"
        return refuse(ErrorCode.WRONG_STATE, text)

    def _status(self) -> ClusterStatus:
        index = self.entry_count
        member = MemberView(
            NODE_ID, "", MemberRole.LEADER.value, index, index, 0, None, None, None, ""
        )
        known = (NODE_ID, NODE_ID, 1, index, index, CLUSTER_ID)
        levels = (self.machine.level, self.machine.level)
        return ClusterStatus(*known, self.elapsed_ms, [member], *levels)

    # --- entries ----------------------------------------------------------------------------------

    def _carry_out(self, command: Any, answer: Callable[[Any], None]) -> None:
        value, applied = self._apply(command)
        answer(value)
        self._settle(applied)

    def _apply(self, command: Any) -> tuple[Any, Applied]:
        entry = encode_entry(self.elapsed_ms, self.wall_ms, [command])
        applied = self.machine.apply(entry)
        self.entry_count += 1
        return self.machine.reply(applied.results[0]), applied

    def _settle(self, applied: Applied) -> None:
        """Answers whoever waited for what an entry did, and what their claims did in turn."""
        done = [applied]
        while done:
            one = done.pop()
            for wanted in one.cancels:
                self._on_cancel(wanted)
            ended = set(one.ended)
            for waiting in [w for w in self._queries if w.command.task_id in ended]:
                self.drop(waiting)
                waiting.answer(self._read(waiting.command))
            for waiting in list(self._claims):
                if not self.machine.has_ready(waiting.command.queues):
                    continue
                value, more = self._apply(waiting.command)
                if type(value) is Refusal or value.tasks:
                    self.drop(waiting)
                    waiting.answer(value)
                if more.ended or more.readied:
                    done.append(more)

    # --- time -------------------------------------------------------------------------------------

    def advance(self, ms: int) -> None:
        """Lets time pass. What falls due meanwhile happens at its very moment, in order."""
        end = self.elapsed_ms + ms
        self._act_on_due()
        while (moment := self._next_moment()) <= end:
            self.elapsed_ms = moment
            self._act_on_due()
            for waiting in [*self._claims, *self._queries]:
                if waiting.until_ms <= moment:
                    self.expire(waiting)
        self.elapsed_ms = end
        # So that questions are answered as of now: the machine knows only the time of entries.
        self._carry_out(commands.Advance(), _nobody)
        self._act_on_due()

    def _next_moment(self) -> int:
        """When something is due next in cluster time: always later than now."""
        by_elapsed, by_wall = self.machine.next_due()
        kept_until, _ = self.machine.next_retention()
        moments = [by_elapsed, *(wall - self._start_wall_ms for wall in (by_wall, kept_until))]
        moments += [waiting.until_ms for waiting in (*self._claims, *self._queries)]
        return max(min(moments), self.elapsed_ms + 1)

    def _act_on_due(self) -> None:
        """As a leader's monitors do: until nothing is due, or nothing more comes of it."""
        before, now = None, self._account()
        while now != before:
            (by_elapsed, by_wall), (kept_until, over) = now[:2]
            if by_elapsed <= self.elapsed_ms or by_wall <= self.wall_ms:
                self._carry_out(commands.Advance(), _nobody)
            if over or kept_until <= self.wall_ms:
                self._carry_out(commands.Retain(), _nobody)
            before, now = now, self._account()

    def _account(self) -> tuple[Any, ...]:
        """What acting on something due changes: deadlines, or the tasks behind them."""
        machine = self.machine
        stats = machine.ask(commands.GetStats())
        return machine.next_due(), machine.next_retention(), stats.states, stats.totals


def _nobody(_: Any) -> None:
    """Takes the answer to what no client has asked."""


def _with_ids(command: Any) -> Any:
    """Makes the ids of tasks that a client left to the node."""
    if type(command) is commands.SubmitTask and command.id is None:
        return command._replace(id=new_task_id())
    if type(command) is commands.SubmitTasks:
        members: list[Any] = command.tasks  # lists of fields, as they came
        for fields in members:
            if fields[0] is None:
                fields[0] = new_task_id()
    return command
