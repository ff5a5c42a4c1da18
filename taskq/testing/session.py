"""The node's end of one connection to the broker in memory: bytes in, answers out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq import commands
from taskq.errors import ErrorCode, ProtocolError, refuse
from taskq.limits import FRAME_SIZE_MAX
from taskq.protocol.codec import Rejected, Request
from taskq.protocol.connection import ServerConnection
from taskq.results import HelloReply, PingReply
from taskq.testing.engine import CLUSTER_ID, NODE_ID, Engine, Waiting

# Nobody is dropped for silence: a test may stand still in a debugger.
IDLE_TIMEOUT_MS = 3_600_000
REQUESTS_IN_FLIGHT_MAX = 10_000
_OF_WORKERS = (commands.RegisterWorker, commands.ClaimTask, commands.Heartbeat)


class Session:
    """See the module. `send` takes frames for the client, `hang_up` closes the connection, `later`
    is called with seconds and what to do then. `workers` are those that were heard here."""

    def __init__(
        self,
        engine: Engine,
        send: Callable[[bytes], None],
        hang_up: Callable[[], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.workers: set[bytes] = set()
        self._engine = engine
        self._send = send
        self._hang_up = hang_up
        self._later = later
        self._connection = ServerConnection()
        self._waiting: set[Waiting] = set()
        self._closed = False

    def receive(self, data: bytes) -> None:
        """Carries out the requests that `data` completes."""
        try:
            for request in self._connection.receive(data):
                if isinstance(request, Rejected):
                    self._send(self._connection.reply(0, request.request_id, request.refusal))
                else:
                    self._take(request)
        except ProtocolError as error:
            refusal = refuse(ErrorCode.INVALID_REQUEST, str(error))
            self._send(self._connection.goodbye(refusal))
            self._hang_up()

    def cancel(self, task_id: bytes, token: int) -> None:
        """Tells the worker that a run should stop."""
        self._send(self._connection.push(commands.CancelRequested(task_id, token)))

    def lose(self) -> None:
        """The connection is gone: nothing waits for it any more."""
        self._closed = True
        for waiting in self._waiting:
            self._engine.drop(waiting)
        self._waiting.clear()

    def close(self) -> None:
        """Ends the connection from the node's side."""
        self.lose()
        self._hang_up()

    def _take(self, request: Request) -> None:
        command = request.command
        if isinstance(command, commands.Hello):
            self._greet(request)
        elif isinstance(command, commands.Ping):
            self._answer(request, PingReply(NODE_ID, 1))
        else:
            if isinstance(command, _OF_WORKERS):
                self.workers.add(command.worker_id)
            self._carry_out(request)

    def _carry_out(self, request: Request) -> None:
        waiting: Waiting | None = None

        def answer(value: Any) -> None:
            if waiting is not None:
                self._waiting.discard(waiting)
            self._answer(request, value)

        waiting = self._engine.take(request.command, request.deadline_ms, answer)
        if waiting is not None:
            self._waiting.add(waiting)
            secs = (waiting.until_ms - self._engine.elapsed_ms) / 1000
            expiring = waiting
            self._later(secs, lambda: self._engine.expire(expiring))

    def _greet(self, request: Request) -> None:
        if commands.PROTOCOL_VERSION not in request.command.versions:
            text = f"this broker speaks version {commands.PROTOCOL_VERSION}"
            self._answer(request, refuse(ErrorCode.UNSUPPORTED_VERSION, text))
            self._hang_up()
            return
        settings = self._engine.machine.settings
        reply = HelloReply(
            *(commands.PROTOCOL_VERSION, CLUSTER_ID, NODE_ID, NODE_ID, 1, [], "testing"),
            *(IDLE_TIMEOUT_MS, FRAME_SIZE_MAX, settings.payload_size_max),
            *(settings.result_size_max, settings.max_batch_claim, REQUESTS_IN_FLIGHT_MAX),
        )
        self._send(self._connection.accept(request.request_id, reply))

    def _answer(self, request: Request, value: Any) -> None:
        if not self._closed:
            frame = self._connection.reply(request.message.code, request.request_id, value)
            self._send(frame)
