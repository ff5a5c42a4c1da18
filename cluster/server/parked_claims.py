"""Claims that wait for a task: no log entry and no timer while nothing is ready.

    arrives --a task is there--> proposed --tasks--> answered
       |                         ^   |
       +--none is there--> parked    +--lost the race--> parked again, at the front
                             |
                             +--wait ends, connection closes, leader changes,
                                worker deregisters--> answered

First come, first served in each queue, and only as many are proposed as there are ready tasks:
`_expected` is what proposed claims will take of a queue. All claims pass here, because each
reserves room for its answer in its session.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

from cluster.server.replica import Replica
from cluster.server.requester import Requester, Tag
from cluster.server.wait_clock import WaitClock, Waiter
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import FRAME_SIZE_MAX, KIB
from taskq.machine.claim import why_no_claim
from taskq.machine.machine import Applied
from taskq.results import Claimed

# What an answer takes beside payloads.
ANSWER_SIZE = 64 * KIB
RETRY_AFTER_MS = 1_000


class ParkedClaims:
    """See the module. It is the sink of the claims that it proposes; their tags are waiters."""

    def __init__(self, replica: Replica, clock: WaitClock) -> None:
        self._replica = replica
        self._clock = clock
        self._queues: dict[str, OrderedDict[Waiter, None]] = {}
        # (worker, claim number) -> the parked claim: a repeat must find what the first was granted.
        self._numbers: dict[tuple[bytes, int], Waiter] = {}
        self._workers: dict[bytes, dict[Waiter, None]] = {}
        # Workers whose farewell is on its way through the log, and how many times.
        self._leaving: Counter[bytes] = Counter()
        self._expected: dict[str, int] = {}
        self._recheck: set[str] = set()
        self._losers: list[Waiter] = []
        self.count = 0

    def claim(self, session: Requester, tag: Tag) -> None:
        """A claim arrived: proposes it if it would find a task or need not wait, else parks it."""
        arrival, request = tag
        command = request.command
        refusal = why_no_claim(command)
        if refusal is not None:
            session.deliver(tag, refusal)
            return
        machine = self._replica.machine
        wait_ms = command.wait_ms
        if request.deadline_ms:
            wait_ms = min(wait_ms, request.deadline_ms)
        settings = machine.settings
        waiter = Waiter(session, tag, arrival + wait_ms / 1000, self._expire)
        waiter.want = min(command.max_tasks, settings.max_batch_claim)
        known = machine.has_claim(command.worker_id, command.claim_number)
        if known and session.sessions.is_promised():
            # What waits is claimed once; a claim can be repeated without end, on any connection.
            text = "the node holds as much as it may: repeat the claim a little later"
            self._answer(waiter, refuse(ErrorCode.TOO_MANY_REQUESTS, text, RETRY_AFTER_MS))
            return
        if known or wait_ms == 0:
            self._propose(waiter, "")
            return
        for queue in command.queues:
            if machine.ready_count(queue) > self._expected.get(queue, 0):
                self._propose(waiter, queue)
                return
        if self._clock.full:
            text = "as many requests wait on this node as it can hold"
            self._answer(waiter, refuse(ErrorCode.TOO_MANY_REQUESTS, text, RETRY_AFTER_MS))
            return
        self._park(waiter, front=False)

    def _propose(self, waiter: Waiter, queue: str) -> None:
        waiter.queue = queue
        if queue:
            self._expected[queue] = self._expected.get(queue, 0) + waiter.want
        # No answer holds more than a frame, nor, but for a repeat's, more than all that waits.
        machine, command = self._replica.machine, waiter.tag[1].command
        size = FRAME_SIZE_MAX
        if not machine.has_claim(command.worker_id, command.claim_number):
            size = min(size, machine.waiting_size + ANSWER_SIZE)
        waiter.reserve = min(size, waiter.want * machine.settings.payload_size_max)
        waiter.session.reserve(waiter.reserve)
        self._replica.propose(command, self, waiter)

    def deliver(self, waiter: Waiter, value: Any) -> None:
        """What became of a proposed claim."""
        waiter.session.reserve(-waiter.reserve)
        if waiter.queue:
            self._recheck.add(waiter.queue)
            left = self._expected[waiter.queue] - waiter.want
            if left:
                self._expected[waiter.queue] = left
            else:
                del self._expected[waiter.queue]
        if type(value) is Refusal:
            self._answer(waiter, value)
        elif value.tasks:
            self._answer(waiter, value)
            self._propose_repeat(waiter)
        elif self._may_wait(waiter):
            self._losers.append(waiter)
        else:
            self._answer(waiter, value)

    def _may_wait(self, waiter: Waiter) -> bool:
        command = waiter.tag[1].command
        if command.wait_ms == 0 or not waiter.session.wants(waiter.tag):
            return False
        if command.worker_id in self._leaving:
            return False
        if waiter.deadline <= self._clock.loop.time():
            return False
        # A number that the worker has moved past is answered empty, whatever is ready.
        return not self._replica.machine.has_claim(command.worker_id, command.claim_number)

    def _propose_repeat(self, granted: Waiter) -> None:
        """A repeat that was parked meanwhile gets the same tasks: the first answer may be lost."""
        if not self._numbers:
            return
        repeat = self._numbers.get(_number(granted))
        if repeat is not None:
            self._unpark(repeat)
            self._propose(repeat, "")

    # --- waking -----------------------------------------------------------------------------------

    def applied(self, applied: Applied) -> None:
        """An entry was applied: parks the claims that lost, wakes those that have a task now."""
        if self._losers:
            losers, self._losers = self._losers, []
            for waiter in reversed(losers):
                if not waiter.session.wants(waiter.tag):
                    self._answer(waiter, None)
                else:
                    self._park(waiter, front=True)
        if not self.count:
            self._recheck.clear()
            return
        recheck, self._recheck = self._recheck, set()
        for queue in applied.readied:
            self._wake(queue)
        for queue in recheck - applied.readied:
            self._wake(queue)

    def _wake(self, queue: str) -> None:
        machine, expected = self._replica.machine, self._expected
        while (line := self._queues.get(queue)) is not None:
            if machine.ready_count(queue) <= expected.get(queue, 0):
                return
            waiter = next(iter(line))
            self._unpark(waiter)
            if waiter.session.is_full():
                self._answer(waiter, self._nothing(waiter))  # it does not read: others do
            else:
                self._propose(waiter, queue)

    # --- parking ----------------------------------------------------------------------------------

    def _park(self, waiter: Waiter, *, front: bool) -> None:
        waiter.parked = True
        self.count += 1
        for queue in waiter.tag[1].command.queues:
            line = self._queues.get(queue)
            if line is None:
                line = self._queues[queue] = OrderedDict()
            line[waiter] = None
            if front:
                line.move_to_end(waiter, last=False)
        self._numbers[_number(waiter)] = waiter
        self._workers.setdefault(_worker(waiter), {})[waiter] = None
        waiter.session.parked.add(waiter)
        if not waiter.timed:
            self._clock.add(waiter)

    def _unpark(self, waiter: Waiter) -> None:
        waiter.parked = False
        self.count -= 1
        for queue in waiter.tag[1].command.queues:
            line = self._queues.get(queue)
            if line is not None:  # a claim may name a queue twice
                line.pop(waiter, None)
                if not line:
                    del self._queues[queue]
        number = _number(waiter)
        if self._numbers.get(number) is waiter:
            del self._numbers[number]
        of_worker = self._workers[_worker(waiter)]
        del of_worker[waiter]
        if not of_worker:
            del self._workers[_worker(waiter)]
        waiter.session.parked.discard(waiter)

    # --- farewells --------------------------------------------------------------------------------

    def withdraw(self, worker_id: bytes) -> None:
        """The worker deregisters: its claims wait no longer, also those that are in the log now."""
        self._leaving[worker_id] += 1
        for waiter in list(self._workers.get(worker_id, ())):
            self._unpark(waiter)
            self._answer(waiter, self._nothing(waiter))

    def withdrawn(self, worker_id: bytes) -> None:
        """The farewell of a `withdraw` is through the log, or was refused."""
        self._leaving[worker_id] -= 1
        if not self._leaving[worker_id]:
            del self._leaving[worker_id]

    # --- answers ----------------------------------------------------------------------------------

    def _answer(self, waiter: Waiter, value: Any) -> None:
        self._clock.remove(waiter)
        waiter.session.deliver(waiter.tag, value)

    def _nothing(self, waiter: Waiter) -> Claimed:
        return Claimed([], waiter.want)

    def _expire(self, waiter: Waiter) -> None:
        """The wait ended. A claim that is proposed just now is answered by what becomes of it."""
        if waiter.parked:
            self._unpark(waiter)
            self._answer(waiter, self._nothing(waiter))

    def drop(self, waiter: Waiter) -> None:
        """The connection of a parked claim was lost."""
        self._unpark(waiter)
        self._answer(waiter, None)

    def refuse_all(self, refusal: Refusal) -> None:
        """Answers every parked claim, and those about to be parked again."""
        losers, self._losers = self._losers, []
        for waiter in losers:
            self._answer(waiter, refusal)
        for line in list(self._queues.values()):
            for waiter in list(line):
                if waiter.parked:
                    self._unpark(waiter)
                    self._answer(waiter, refusal)


def _worker(waiter: Waiter) -> bytes:
    worker_id: bytes = waiter.tag[1].command.worker_id
    return worker_id


def _number(waiter: Waiter) -> tuple[bytes, int]:
    command = waiter.tag[1].command
    return command.worker_id, command.claim_number
