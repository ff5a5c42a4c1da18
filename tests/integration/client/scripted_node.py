"""A node for tests of the client: real frames over a real socket, a dictionary for a state.

A test scripts what it does with each request: answer, carry out and drop the connection, refuse,
wait, keep silent, send garbage. Without a script it behaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskq import commands as c
from taskq import results as r
from taskq.errors import ErrorCode, ProtocolError, Refusal, refuse
from taskq.protocol.codec import Rejected, Request
from taskq.protocol.connection import ServerConnection, announcement

OK_STATE = int(r.TaskState.COMPLETED)


@dataclass
class Drop:
    """Ends the connection, after carrying the request out or before."""

    carried_out: bool


@dataclass
class Delayed:
    """Answers after so many seconds."""

    seconds: float


@dataclass
class Raw:
    """Sends these bytes instead of an answer."""

    data: bytes


class Silent:
    """Never answers."""


Action = Drop | Delayed | Raw | Silent | Refusal | tuple | None
Script = Callable[[Any], Any]


async def settled(condition: Callable[[], Any]) -> None:
    """Waits until a condition holds; the test's time-out ends it otherwise."""
    while not condition():  # noqa: ASYNC110  # what is waited for happens at the other end
        await asyncio.sleep(0.005)


class ScriptedNode:
    """One node. `script(command)` returns an action, a reply, or None to behave."""

    def __init__(self, node_id: str = "n1", port: int = 0, **hello: Any) -> None:
        self.node_id = node_id
        self.host = "127.0.0.1"
        self.port = port
        self.hello = hello
        self.script: Script = lambda command: None
        self.member_script: Script = lambda command: None
        self.greeting: Refusal | bytes | None = None
        self.tasks: dict[bytes, c.SubmitTask] = {}
        self.results: dict[bytes, bytes] = {}
        self.ended: dict[bytes, r.TaskState] = {}
        self.claims: dict[tuple[bytes, int], list[r.ClaimedTask]] = {}
        self.received: list[Any] = []
        self.peers: set[_Peer] = set()
        self.connection_count = 0
        self.hellos: list[c.Hello] = []
        self.token = 0

    async def __aenter__(self) -> ScriptedNode:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: _Peer(self), self.host, self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.close()
        for peer in list(self.peers):
            peer.transport.abort()
        await self.server.wait_closed()
        await asyncio.sleep(0)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"taskq://{self.address}"

    def count(self, kind: type) -> int:
        return sum(type(command) is kind for command in self.received)

    def drop_all(self) -> None:
        for peer in list(self.peers):
            peer.transport.abort()

    def push(self, command: Any) -> None:
        for peer in self.peers:
            peer.transport.write(peer.wire.push(command))

    def announce(self) -> None:
        """Tells open connections who leads now."""
        for peer in self.peers:
            peer.transport.write(announcement(self.hello_reply()))

    def hello_reply(self) -> r.HelloReply:
        fields: dict[str, Any] = {
            "protocol_version": 1,
            "cluster_id": "test",
            "node_id": self.node_id,
            "leader": self.node_id,
            "term": 1,
            "members": [[self.node_id, self.address]],
            "server_version": "0",
            "idle_timeout_ms": 30_000,
            "frame_size_max": 16 << 20,
            "payload_size_max": 1 << 20,
            "result_size_max": 1 << 20,
            "max_batch_claim": 10,
            "requests_in_flight_max": 1_000,
        }
        return r.HelloReply(**{**fields, **self.hello})

    # --- the queue -------------------------------------------------------------------------

    def carry_out(self, command: Any) -> Any:  # noqa: C901  # one line for each kind
        match command:
            case c.Ping():
                return r.PingReply(self.hello.get("leader", self.node_id), 1)
            case c.SubmitTask():
                self.tasks.setdefault(command.id, command)
                return r.Submitted(command.id)
            case c.SubmitTasks():
                return r.BatchReply([self.member(c.SubmitTask(*task)) for task in command.tasks])
            case c.ClaimTask():
                return self.claim(command)
            case c.Ack() | c.TaskResult() | c.Nack():
                state = r.TaskState.READY if isinstance(command, c.Nack) else r.TaskState.COMPLETED
                self.ended[command.task_id] = state
                if isinstance(command, c.TaskResult) and command.result is not None:
                    self.results[command.task_id] = command.result
                return r.OutcomeReply(int(state))
            case c.TaskResults():
                return r.BatchReply([self.member(c.TaskResult(*o)) for o in command.outcomes])
            case c.RedriveDead() | c.DeleteDead():
                return r.BatchReply([self.member(task_id) for task_id in command.task_ids])
            case c.QueryStatus():
                return self.view(command.task_id)
            case c.RegisterWorker():
                return r.Registered(30_000, 15_000, 30_000)
            case c.DeregisterWorker():
                return r.Deregistered(0)
            case c.Heartbeat():
                return r.HeartbeatReply([], [])
            case c.CancelTask():
                return r.CancelReply(int(r.TaskState.CANCELLED), False)
            case c.ListTasks() | c.ListDead():
                ids = sorted(i for i in self.tasks if command.after is None or i > command.after)
                page = ids[: command.limit]
                after = page[-1] if len(ids) > len(page) else None
                return r.TaskPage([self.view(task_id) for task_id in page], after)
            case c.CreateQueue() | c.PauseQueue() | c.ResumeQueue() | c.DeleteQueue():
                return r.Done()
            case c.PurgeQueue():
                gone = list(self.tasks)[: command.limit]
                for task_id in gone:
                    del self.tasks[task_id]
                return r.Purged(len(gone), bool(self.tasks))
        return refuse(ErrorCode.INVALID_REQUEST, f"not scripted: {type(command).__name__}")

    def member(self, command: Any) -> list[Any]:
        """The answer to a member of a batch; `member_script` may refuse it."""
        refusal = self.member_script(command)
        if refusal is not None:
            return [False, refusal]
        return [True, r.Done() if isinstance(command, bytes) else self.carry_out(command)]

    def claim(self, command: c.ClaimTask) -> r.Claimed:
        key = (command.worker_id, command.claim_number)
        if key not in self.claims:
            free = [i for i in self.tasks if i not in self.ended and not self.leased(i)]
            self.claims[key] = [self.lease(i) for i in free[: command.max_tasks]]
        return r.Claimed(self.claims[key], command.max_tasks)

    def leased(self, task_id: bytes) -> bool:
        return any(t.task_id == task_id for tasks in self.claims.values() for t in tasks)

    def lease(self, task_id: bytes) -> r.ClaimedTask:
        self.token += 1
        t = self.tasks[task_id]
        return r.ClaimedTask(
            task_id,
            self.token,
            t.queue,
            t.name,
            t.payload,
            t.headers,
            t.priority,
            1,
            30_000,
            None,
            1,
        )

    def view(self, task_id: bytes) -> Any:
        task = self.tasks.get(task_id)
        if task is None:
            return refuse(ErrorCode.NOT_FOUND, "no such task")
        return view_of(
            task_id,
            state=int(self.ended.get(task_id, r.TaskState.READY)),
            queue=task.queue,
            result=self.results.get(task_id),
        )


def view_of(task_id: bytes, **changed: Any) -> r.TaskView:
    """A task's view with plain values."""
    fields: dict[str, Any] = {
        "task_id": task_id,
        "state": int(r.TaskState.READY),
        "queue": "q",
        "name": "",
        "priority": 150,
        "headers": {},
        "size": 0,
        "submitted_wall_ms": 1_700_000_000_000,
        "due_wall_ms": 0,
        "started_wall_ms": 0,
        "ended_wall_ms": 0,
        "attempt": 0,
        "retries": 0,
        "max_retries": 3,
        "lease_expiries": 0,
        "worker": "",
        "token": 0,
        "cancel_requested": False,
        "reason": "",
        "has_result": False,
        "result": None,
        "attempts": [],
    }
    return r.TaskView(**{**fields, **changed})


class _Peer(asyncio.Protocol):
    def __init__(self, node: ScriptedNode) -> None:
        self.node = node
        self.wire = ServerConnection()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.node.peers.add(self)
        self.node.connection_count += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.node.peers.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            requests = self.wire.receive(data)
        except ProtocolError as error:
            self.transport.write(self.wire.goodbye(refuse(ErrorCode.INVALID_REQUEST, str(error))))
            self.transport.close()
            return
        for request in requests:
            if self.transport.is_closing():
                return
            self.handle(request)

    def handle(self, request: Request | Rejected) -> None:
        node = self.node
        if isinstance(request, Rejected):
            self.transport.write(self.wire.reply(0, request.request_id, request.refusal))
            return
        command = request.command
        if isinstance(command, c.Hello):
            node.hellos.append(command)
            if isinstance(node.greeting, bytes):
                self.transport.write(node.greeting)
            elif node.greeting is not None:
                self.transport.write(self.wire.reply(1, request.request_id, node.greeting))
                self.transport.close()
            else:
                self.transport.write(self.wire.accept(request.request_id, node.hello_reply()))
            return
        node.received.append(command)
        action = node.script(command)
        match action:
            case Drop():
                if action.carried_out:
                    node.carry_out(command)
                self.transport.abort()
            case Raw():
                self.transport.write(action.data)
            case Silent():
                pass
            case Delayed():
                asyncio.get_running_loop().call_later(action.seconds, self.answer, request, None)
            case asyncio.Future():
                action.add_done_callback(lambda _: self.answer(request, None))
            case _:
                self.answer(request, action)

    def answer(self, request: Request, value: Any) -> None:
        if value is None:
            value = self.node.carry_out(request.command)
        if not self.transport.is_closing():
            code = request.message.code
            self.transport.write(self.wire.reply(code, request.request_id, value))
