"""Status queries that wait for their task to end: answered when an entry ends it, or when the wait
is over, with the state as it is then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cluster.server.replica import Replica
from cluster.server.requester import Requester, Tag
from cluster.server.wait_clock import WaitClock, Waiter
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Applied

# A way to answer a read: of this session, this request.
Answer = Callable[[Requester, Tag], None]

RETRY_AFTER_MS = 1_000
# Queries answered in one round of the loop: thousands may wait for the same task.
ROUND_COUNT_MAX = 200


class ParkedQueries:
    """See the module."""

    def __init__(self, replica: Replica, clock: WaitClock) -> None:
        self._replica = replica
        self._clock = clock
        self._tasks: dict[bytes, dict[Waiter, None]] = {}
        self._due: deque[Waiter] = deque()  # still parked: they may be dropped or refused yet
        self.count = 0
        self._answer: Answer
        self._read: Answer

    def bind(self, answer: Answer, read: Answer) -> None:
        """`answer` looks at the applied state; `read` passes a read barrier first."""
        self._answer, self._read = answer, read

    def query(self, session: Requester, tag: Tag) -> bool:
        """Parks a query whose task has yet to end; false where it can be answered at once."""
        arrival, request = tag
        command = request.command
        if self._replica.machine.is_final(command.task_id) is not False:
            return False
        wait_ms = min(command.wait_ms, request.deadline_ms or command.wait_ms)
        deadline = arrival + wait_ms / 1000
        if self._clock.full:
            text = "as many requests wait on this node as it can hold"
            refusal = refuse(ErrorCode.TOO_MANY_REQUESTS, text, RETRY_AFTER_MS)
            session.deliver(tag, refusal)
            return True
        waiter = Waiter(session, tag, deadline, self._expire)
        self._tasks.setdefault(command.task_id, {})[waiter] = None
        waiter.parked = True
        self.count += 1
        session.parked.add(waiter)
        self._clock.add(waiter)
        return True

    def applied(self, applied: Applied) -> None:
        """An entry was applied: answers the queries of tasks that it ended."""
        if not self._tasks:
            return
        for task_id in applied.ended:
            if not self._due:
                self._clock.loop.call_soon(self._answer_due)
            self._due.extend(self._tasks.get(task_id, ()))

    def _answer_due(self) -> None:
        for _ in range(min(ROUND_COUNT_MAX, len(self._due))):
            waiter = self._due.popleft()
            if waiter.parked:
                self._unpark(waiter)
                # Ended and redriven: it waits on.
                self._answer(waiter.session, waiter.tag)
        if self._due:
            self._clock.loop.call_soon(self._answer_due)

    def _expire(self, waiter: Waiter) -> None:
        """Reads anew, as a query without a wait."""
        self._unpark(waiter)
        arrival, request = waiter.tag
        command = request.command._replace(wait_ms=0)
        self._read(waiter.session, (arrival, request._replace(command=command)))

    def drop(self, waiter: Waiter) -> None:
        """The connection was lost."""
        self._unpark(waiter)
        waiter.session.deliver(waiter.tag, None)

    def refuse_all(self, refusal: Refusal, *, stale: bool) -> None:
        """Answers every parked query; those that take a stale answer only where `stale`."""
        for waiters in list(self._tasks.values()):
            for waiter in list(waiters):
                if stale or not waiter.tag[1].command.stale:
                    self._unpark(waiter)
                    waiter.session.deliver(waiter.tag, refusal)

    def _unpark(self, waiter: Waiter) -> None:
        self._clock.remove(waiter)
        waiter.parked = False
        self.count -= 1
        task_id = waiter.tag[1].command.task_id
        waiters = self._tasks[task_id]
        del waiters[waiter]
        if not waiters:
            del self._tasks[task_id]
        waiter.session.parked.discard(waiter)
