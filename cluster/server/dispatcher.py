"""Which way a request goes: answered here, into the log, or read from the applied state.

Everything that needs the leader passes `_elsewhere` on a node that does not lead: the one place
where a request leaves this node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from cluster.server.growth import grows, propose_rest
from cluster.server.pushes import WorkerLinks
from cluster.server.replica import Replica
from cluster.server.session import Handler, Session, Tag
from cluster.server.waiters import Waiting
from taskq import commands
from taskq.client.identifier import new_task_id
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Applied
from taskq.registry import MESSAGE_OF, MESSAGES, Sort
from taskq.results import PingReply

log = structlog.get_logger(__name__)

RETRY_AFTER_MS = 200

_GROWING = (commands.SubmitTask, commands.TaskResult)
_BATCHES = (commands.SubmitTasks, commands.TaskResults, commands.RedriveDead)
# Listings walk up to 2,000 records: one of them in a round of the loop, whoever asks.
_LISTINGS = frozenset(
    {commands.ListTasks, commands.ListWorkers, commands.ListQueues, commands.ListDead}
)


class Dispatcher:
    """Routes the requests of all sessions. `handlers`: message code -> what handles it."""

    def __init__(
        self,
        replica: Replica,
        waiting: Waiting,
        links: WorkerLinks,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.replica = replica
        self._on_failure = on_failure
        self._waiting = waiting
        self._links = links
        self._loop = waiting.loop
        self._after_barrier = _AfterBarrier(self)
        self._listings: deque[tuple[Session, Tag]] = deque()
        by_sort: dict[Sort, Handler] = {Sort.COMMAND: self._command, Sort.READ: self._read}
        self.handlers: dict[int, Handler] = {
            code: by_sort[row.sort] for code, row in MESSAGES.items() if row.sort in by_sort
        }
        special: dict[type, Handler] = {
            commands.Ping: self._ping,
            commands.SubmitTask: self._submit,
            commands.SubmitTasks: self._submit_many,
            commands.ClaimTask: self._claim,
            commands.Heartbeat: self._of_worker,
            commands.RegisterWorker: self._of_worker,
            commands.DeregisterWorker: self._deregister,
        }
        self.handlers |= {MESSAGE_OF[shape].code: handler for shape, handler in special.items()}
        waiting.bind(self.answer, self._read)
        replica.subscribe(self._applied)
        replica.on_leadership(self._leadership)

    def forget(self, session: Session) -> None:
        """The session's connection was lost."""
        self._waiting.drop(session)
        self._links.drop(session)

    def _applied(self, applied: Applied) -> None:
        if applied.cancels:
            self._links.push_cancels(applied.cancels)
        self._waiting.applied(applied)

    def _leadership(self, leads: bool) -> None:
        if not leads:
            self._waiting.refuse_all(self._no_leader())

    # --- commands ---------------------------------------------------------------------------------

    def _command(self, session: Session, tag: Tag) -> None:
        self.propose(session, tag, tag[1].command)

    def propose(self, session: Session, tag: Tag, command: Any) -> None:
        """Puts a command into the log, where this node leads and the disk has room."""
        replica = self.replica
        if not replica.is_leader():
            self._elsewhere(session, tag)
            return
        refusal = replica.growth_refused()
        if refusal is not None:
            if type(command) in _BATCHES:
                propose_rest(replica, refusal, session, tag, command)
                return
            if type(command) in _GROWING and grows(replica.machine, command):
                session.deliver(tag, refusal)
                return
        replica.propose(command, session, tag)

    def _elsewhere(self, session: Session, tag: Tag) -> None:
        """This node does not lead."""
        session.deliver(tag, self._no_leader())

    def _no_leader(self) -> Refusal:
        leader = self.replica.leader
        who = f"{leader} leads" if leader and leader != self.replica.node_id else "nobody leads"
        text = f"{self.replica.node_id} does not lead the cluster now: {who}"
        return refuse(ErrorCode.NO_LEADER, text, RETRY_AFTER_MS)

    def _submit(self, session: Session, tag: Tag) -> None:
        command = tag[1].command
        if command.id is None:
            command = command._replace(id=new_task_id())
        self.propose(session, tag, command)

    def _submit_many(self, session: Session, tag: Tag) -> None:
        for fields in tag[1].command.tasks:
            if fields[0] is None:
                fields[0] = new_task_id()
        self._command(session, tag)

    def _of_worker(self, session: Session, tag: Tag) -> None:
        self._links.note(tag[1].command.worker_id, session)
        self.propose(session, tag, tag[1].command)

    def _deregister(self, session: Session, tag: Tag) -> None:
        self._links.forget(tag[1].command.worker_id)
        self.propose(session, tag, tag[1].command)

    def _claim(self, session: Session, tag: Tag) -> None:
        self._links.note(tag[1].command.worker_id, session)
        if self.replica.is_leader():
            self._waiting.claim(session, tag)
        else:
            self._elsewhere(session, tag)

    # --- sessions and reads -----------------------------------------------------------------------

    def _ping(self, session: Session, tag: Tag) -> None:
        session.deliver(tag, PingReply(self.replica.leader, self.replica.term))

    def _read(self, session: Session, tag: Tag) -> None:
        if tag[1].command.stale:
            self.answer(session, tag)
        elif self.replica.is_leader():
            self.replica.read_barrier(self._after_barrier, (session, tag))
        else:
            self._elsewhere(session, tag)

    def answer(self, session: Session, tag: Tag) -> None:
        """Answers a READ from the applied state, later where the peer does not read its answers."""
        if session.closed:
            session.deliver(tag, None)
            return
        if session.must_wait():
            session.defer(tag)
            return
        refusal = self.replica.unavailable()
        if refusal is not None:
            session.deliver(tag, refusal)
            return
        command = tag[1].command
        shape = type(command)
        if shape is commands.QueryStatus and command.wait_ms and self._waiting.query(session, tag):
            return
        if shape in _LISTINGS:
            if not self._listings:
                self._loop.call_soon(self._list_next)
            self._listings.append((session, tag))
            return
        self.read(session, tag)

    def read(self, session: Session, tag: Tag) -> None:
        """Asks the machine now."""
        answer = None
        if not session.closed:
            answer = self.replica.unavailable() or self._ask(tag[1].command)
        session.deliver(tag, answer)

    def _ask(self, question: Any) -> Any:
        try:
            answer = self.replica.machine.ask(question)
        except Exception as error:
            # A read met a damaged disk or a bug: the asker must not hang, and the node must know.
            log.exception("a read failed", question=type(question).__name__)
            self._on_failure(error)
            return refuse(ErrorCode.UNAVAILABLE, "the node cannot read its state", RETRY_AFTER_MS)
        if type(question) is commands.GetStats:
            replica = self.replica
            return answer._replace(
                node_id=replica.node_id,
                leader=replica.leader,
                term=replica.term,
                applied_index=replica.applied_index,
            )
        return answer

    def _list_next(self) -> None:
        session, tag = self._listings.popleft()
        if self._listings:
            self._loop.call_soon(self._list_next)
        if session.must_wait() and not session.closed:
            session.defer(tag)
        else:
            self.read(session, tag)


class _AfterBarrier:
    """Answers reads whose barrier was passed. A tag is (session, its tag)."""

    __slots__ = ("_dispatcher",)

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def deliver(self, tag: tuple[Session, Tag], value: Any) -> None:
        """Looks at the state, or passes the refusal on."""
        session, request = tag
        if value is None:
            self._dispatcher.answer(session, request)
        else:
            session.deliver(request, value)
