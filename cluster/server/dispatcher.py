"""Which way a request goes: answered here, into the log, or read from the applied state.

Everything that needs the leader passes `_elsewhere` on a node that does not lead: from there it
goes to the leader, or waits for one (`Forwarding`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from cluster.server.backups import Backups
from cluster.server.cluster_questions import ClusterQuestions
from cluster.server.cursors import Cursors
from cluster.server.forwarding import Forwarding
from cluster.server.growth import grows
from cluster.server.growth import refusals_of as growing
from cluster.server.partial_batch import propose_rest
from cluster.server.pushes import WorkerLinks
from cluster.server.replica import Replica
from cluster.server.requester import Handler, Requester, Tag
from cluster.server.scope import MEMBER_RULES, refusal_of, refusals_of
from cluster.server.turns import ROUND_COST, Turns
from cluster.server.waiters import Waiting
from taskq import commands
from taskq.client.identifier import new_task_id
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Applied
from taskq.protocol.codec import Request
from taskq.registry import MESSAGE_OF, MESSAGES, Sort
from taskq.results import PingReply

log = structlog.get_logger(__name__)

RETRY_AFTER_MS = 200

_GROWING = (commands.SubmitTask, commands.TaskResult)
_BATCHES = (commands.SubmitTasks, commands.TaskResults, commands.RedriveDead)
# Listings walk up to 2,000 records, or all queues or workers: one of them in a round of the loop,
# whoever asks.
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
        cursors: Cursors,
        on_failure: Callable[[BaseException], None],
        make_forwarding: Callable[[Callable[[Requester], dict[int, Handler]]], Forwarding],
        server_version: str = "",
    ) -> None:
        self.replica = replica
        self._on_failure = on_failure
        self._waiting = waiting
        self._links = links
        self._cursors = cursors
        self._after_barrier = _AfterBarrier(self)
        self._turns = Turns(waiting.loop, self._answer_now)
        by_sort: dict[Sort, Handler] = {Sort.COMMAND: self._command, Sort.READ: self._read}
        self.handlers: dict[int, Handler] = {
            code: by_sort[row.sort] for code, row in MESSAGES.items() if row.sort in by_sort
        }
        self.questions = ClusterQuestions(waiting.loop, replica, self._elsewhere)
        self.backups = Backups(waiting.loop, replica, server_version)
        cluster: dict[type, Handler] = {
            commands.GetCluster: self.questions.status,
            commands.TransferLeadership: self.questions.transfer,
            commands.AddMember: self.questions.change_members,
            commands.RemoveMember: self.questions.change_members,
            commands.UpgradeCluster: self.questions.upgrade,
            commands.BeginBackup: self.backups.begin,
            commands.ReadBackup: self.backups.read,
            commands.EndBackup: self.backups.end,
        }
        self.handlers |= _by_code(cluster)
        special: dict[type, Handler] = {
            commands.Ping: self._ping,
            commands.SubmitTask: self._submit,
            commands.SubmitTasks: self._submit_many,
            commands.ClaimTask: self._claim,
            commands.Heartbeat: self._of_worker,
            commands.RegisterWorker: self._of_worker,
            commands.DeregisterWorker: self._deregister,
        }
        remote: dict[type, Handler] = {
            commands.SubmitTask: self._submit,
            commands.SubmitTasks: self._submit_many,
            commands.ClaimTask: self._claim_remote,
            commands.DeregisterWorker: self._deregister_remote,
            commands.QueryStatus: self._query_remote,
        }
        # What another node passes on for its clients. Their workers are linked to that node.
        self.remote_handlers = self.handlers | _by_code(remote)
        self.handlers |= _by_code(special)
        self.forwarding = make_forwarding(
            lambda session: self.remote_handlers if session.remote else self.handlers
        )
        self.drop_parked = waiting.drop_one
        waiting.bind(self.answer, self._read)
        replica.subscribe(self._applied)
        replica.on_leadership(self._leadership)

    def forget(self, session: Requester) -> None:
        """The session's connection was lost."""
        self._waiting.drop(session)
        self._links.drop(session)
        self.forwarding.drop(session)
        self.backups.forget(session)

    def _applied(self, applied: Applied) -> None:
        if applied.cancels:
            self._links.push_cancels(applied.cancels)
        self._waiting.applied(applied)

    def _leadership(self, leads: bool) -> None:
        if leads:
            self.forwarding.leads()
        else:
            # Not answered, unless it belongs to another node: moved to where the leader is.
            self._waiting.refuse_all(refuse(ErrorCode.NO_LEADER, "this node leads no more"))

    # --- commands ---------------------------------------------------------------------------------

    def _command(self, session: Requester, tag: Tag) -> None:
        self.propose(session, tag, tag[1].command)

    def propose(self, session: Requester, tag: Tag, command: Any) -> None:
        """Puts a command into the log, where this node leads and the disk has room."""
        replica = self.replica
        if not replica.is_leader():
            self._elsewhere(session, tag)
            return
        refusal = replica.growth_refused()
        if refusal is None and tag[1].scope is None:
            replica.propose(command, session, tag)
            return
        if self._is_out_of_scope(session, tag):
            return
        shape = type(command)
        if shape in _BATCHES or shape in MEMBER_RULES:
            try:
                refusals = self._refusals(tag, command, refusal)
            except Exception as error:  # noqa: BLE001  # handed on
                session.deliver(tag, self._cannot_read(command, error))
                return
            propose_rest(replica, refusals, session, tag, command)
        elif refusal is not None and shape in _GROWING and grows(replica.machine, command):
            session.deliver(tag, refusal)
        else:
            replica.propose(command, session, tag)

    def _refusals(
        self, tag: Tag, command: Any, refusal: Refusal | None
    ) -> Sequence[Refusal | None]:
        """Of each member of a batch why it is refused: it is out of the key's scope, or it makes
        the state grow while that is refused."""
        machine, scope = self.replica.machine, tag[1].scope
        limited: Sequence[Refusal | None] = [None] * len(command[0])
        if scope is not None:
            limited = refusals_of(scope, machine, command)
        if refusal is None or type(command) not in _BATCHES:
            return limited
        grown = growing(machine, refusal, command)
        return [one or other for one, other in zip(limited, grown, strict=True)]

    def _is_out_of_scope(self, session: Requester, tag: Tag) -> bool:
        """Whether the key that a request came with is limited and does not cover it; answers it
        then. Asked on the node that carries it out."""
        request = tag[1]
        if request.scope is None:
            return False
        refusal = self.replica.unavailable()
        if refusal is None:
            try:
                refusal = refusal_of(request.scope, self.replica.machine, request.command)
            except Exception as error:  # noqa: BLE001  # handed on
                refusal = self._cannot_read(request.command, error)
        if refusal is not None:
            session.deliver(tag, refusal)
        return refusal is not None

    def _elsewhere(self, session: Requester, tag: Tag) -> None:
        """This node does not lead."""
        refusal = self.replica.removed()
        if refusal is not None:
            session.answer(tag, refusal)
        elif session.remote:
            self.forwarding.take_remote(session, tag)
        else:
            self.forwarding.take(session, tag)

    def _submit(self, session: Requester, tag: Tag) -> None:
        command = tag[1].command
        if command.id is None:
            command = command._replace(id=new_task_id())
        self.propose(session, tag, command)

    def _submit_many(self, session: Requester, tag: Tag) -> None:
        for fields in tag[1].command.tasks:
            if fields[0] is None:
                fields[0] = new_task_id()
        self._command(session, tag)

    def _of_worker(self, session: Requester, tag: Tag) -> None:
        self._links.note(tag[1].command.worker_id, session)
        self.propose(session, tag, tag[1].command)

    def _deregister(self, session: Requester, tag: Tag) -> None:
        self._links.forget(tag[1].command.worker_id)
        self._deregister_remote(session, tag)

    def _claim(self, session: Requester, tag: Tag) -> None:
        self._links.note(tag[1].command.worker_id, session)
        if not self.replica.is_leader():
            self._elsewhere(session, tag)
        elif not self._is_out_of_scope(session, tag):
            self._waiting.claim(session, tag)

    def _claim_remote(self, session: Requester, tag: Tag) -> None:
        if not self.replica.is_leader():
            self._elsewhere(session, tag)
        elif self._may_enter(session, tag) and not self._is_out_of_scope(session, tag):
            self._waiting.claim(session, tag)

    def _deregister_remote(self, session: Requester, tag: Tag) -> None:
        if not self.replica.is_leader():
            self._elsewhere(session, tag)
        elif not self._is_out_of_scope(session, tag):
            self._waiting.deregister(session, tag)

    def _query_remote(self, session: Requester, tag: Tag) -> None:
        if self._may_enter(session, tag):
            self._read(session, tag)

    def _may_enter(self, session: Requester, tag: Tag) -> bool:
        """Whether a request of another node's client may wait here; answers those that may not."""
        if not session.wants(tag):
            session.answer(tag, None)
            return False
        if tag[1].command.wait_ms and session.held > session.size_max // 2:
            text = "as many requests wait for one node as the leader can hold"
            session.answer(tag, refuse(ErrorCode.TOO_MANY_REQUESTS, text, RETRY_AFTER_MS))
            return False
        return True

    # --- sessions and reads -----------------------------------------------------------------------

    def _ping(self, session: Requester, tag: Tag) -> None:
        session.deliver(tag, PingReply(self.replica.leader, self.replica.term))

    def _read(self, session: Requester, tag: Tag) -> None:
        if tag[1].command.stale:
            self.answer(session, tag)
        elif self.replica.is_leader():
            self.replica.read_barrier(self._after_barrier, (session, tag))
        else:
            self._elsewhere(session, tag)

    def answer(self, session: Requester, tag: Tag) -> None:
        """Answers a READ from the applied state, in its turn."""
        self._turns.come(session, tag, _cost(tag[1]))

    def _answer_now(self, session: Requester, tag: Tag) -> None:
        """Later where the peer does not read its answers."""
        if not session.wants(tag):
            session.answer(tag, None)
            return
        if session.must_wait():
            session.defer(tag)
            return
        refusal = self.replica.unavailable()
        if refusal is not None:
            session.deliver(tag, refusal)
            return
        if self._is_out_of_scope(session, tag):
            return
        command = tag[1].command
        if type(command) is commands.QueryStatus and command.wait_ms and self._park(session, tag):
            return
        session.deliver(tag, self._ask(tag[1]))

    def _park(self, session: Requester, tag: Tag) -> bool:
        try:
            return self._waiting.query(session, tag)
        except Exception as error:  # noqa: BLE001  # handed on
            session.deliver(tag, self._cannot_read(tag[1].command, error))
            return True

    def _ask(self, request: Request) -> Any:
        question, scope = request.command, request.scope
        try:
            machine = self.replica.machine
            if scope is not None:
                answer = self._cursors.ask(machine, question, scope)
            else:
                answer = machine.ask(question)
        except Exception as error:  # noqa: BLE001  # handed on
            return self._cannot_read(question, error)
        if type(question) is commands.GetStats:
            replica = self.replica
            return answer._replace(
                node_id=replica.node_id,
                leader=replica.leader,
                term=replica.term,
                applied_index=replica.applied_index,
            )
        return answer

    def _cannot_read(self, question: Any, error: Exception) -> Refusal:
        """A damaged disk or a bug: the asker must not hang, and the node must know."""
        log.error("a read failed", question=type(question).__name__, exc_info=error)
        self._on_failure(error)
        return refuse(ErrorCode.UNAVAILABLE, "the node cannot read its state", RETRY_AFTER_MS)


def _cost(request: Request) -> int:
    shape = type(request.command)
    # With a limit, counts are added up over all queues.
    limited = shape is commands.GetStats and request.scope is not None
    return ROUND_COST if limited or shape in _LISTINGS else 1


def _by_code(handlers: dict[type, Handler]) -> dict[int, Handler]:
    return {MESSAGE_OF[shape].code: handler for shape, handler in handlers.items()}


class _AfterBarrier:
    """Answers reads whose barrier was passed. A tag is (session, its tag)."""

    __slots__ = ("_dispatcher",)

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def deliver(self, tag: tuple[Requester, Tag], value: Any) -> None:
        """Looks at the state, or passes the refusal on."""
        session, request = tag
        if value is None:
            self._dispatcher.answer(session, request)
        else:
            session.deliver(request, value)
