"""Connections between clients and nodes: real frames over simulated wires, in order, until one of
the two ends, or the machine of one, is gone.

    Line (client, real ClientConnection) <--fabric--> NodeEnd (a transport) <--> real Session
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from chaos.sim.fabric import Fabric
from chaos.sim.node_loop import NodeLoop
from taskq.errors import ProtocolError, Refusal
from taskq.protocol.codec import NO_REQUEST, Reply
from taskq.protocol.connection import ClientConnection
from taskq.results import HelloReply

if TYPE_CHECKING:
    from chaos.sim.machine import Machine
    from chaos.sim.process import Process

CLIENT = "client"  # the machine that all clients run on
NOT_SENT = "NOT_SENT"  # nothing was asked: the port is closed
LOST = "LOST"  # no answer came: it may or may not have been carried out


class Bag(dict[Any, None]):
    """A set in the order of arrival, so that a run is the same in every process."""

    def add(self, thing: Any) -> None:
        self[thing] = None

    def discard(self, thing: Any) -> None:
        self.pop(thing, None)


class Line:
    """The client's end of one connection. `leader`: who leads, as the node told last."""

    def __init__(self, fabric: Fabric, loop: NodeLoop, machine: Machine) -> None:
        self._fabric = fabric
        self._loop = loop
        self._machine = machine
        self._connection = ClientConnection()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._hello: asyncio.Future[Any] = loop.create_future()
        self._arrives = 0.0  # of what was sent last: nothing overtakes
        self._end: NodeEnd | None = None
        self.closed = False
        self.leader = ""
        frame = self._connection.greet("sim", None)
        self._carry(len(frame), self._knock, frame)

    # --- what the client does ---------------------------------------------------------------------

    async def ask(self, request: Any, timeout_secs: float) -> Any:
        """The reply, a `Refusal`, NOT_SENT or LOST."""
        until = self._loop.time() + timeout_secs
        if not await self._greeted(timeout_secs):
            return NOT_SENT
        left_ms = max(1, round((until - self._loop.time()) * 1000))
        number, frame = self._connection.request(request, left_ms)
        answer = self._waiting[number] = self._loop.create_future()
        self._carry(len(frame), self._arrive, frame)
        try:
            async with asyncio.timeout(left_ms / 1000):
                # Kept when it is given up: the node has to answer all the same.
                return await asyncio.shield(answer)
        except TimeoutError:
            return LOST

    async def _greeted(self, timeout_secs: float) -> bool:
        if self._hello.done():
            return not self.closed and self._hello.result() is None
        try:
            async with asyncio.timeout(timeout_secs):
                return await asyncio.shield(self._hello) is None
        except TimeoutError:
            self.close()
            return False

    def close(self) -> None:
        """The client hangs up."""
        if not self.closed:
            self._lose()
            end = self._end
            if end is not None:
                self._carry(0, end.hung_up)

    @property
    def unanswered(self) -> int:
        """Requests that a living node at the other end owes an answer to."""
        if self.closed or self._end is None or not self._end.lives:
            return 0
        return len(self._waiting)

    # --- the wire ---------------------------------------------------------------------------------

    def _carry(self, size: int, deliver: Callable[..., object], *arguments: Any) -> None:
        fabric, name = self._fabric, self._machine.name
        self._arrives = max(self._arrives, fabric.world.now + fabric.delay(CLIENT, name, size))
        fabric.carry(CLIENT, name, self._arrives, lambda: deliver(*arguments))

    def _knock(self, hello: bytes) -> None:
        """At the node's machine."""
        machine, process = self._machine, self._machine.process
        if not machine.powered or self.closed:
            return
        if process is None or process.server is None:
            self._reset()
            return
        self._end = NodeEnd(self._fabric, process, self)
        process.loop.call_soon(self._end.accept)
        self._end.arrive(hello)

    def _arrive(self, frame: bytes) -> None:
        if not self._machine.powered or self._end is None:
            return
        if self._end.lives:
            self._end.arrive(frame)
        else:
            self._reset()

    def _reset(self) -> None:
        """The node's system refuses: nobody listens there any more."""
        fabric, name = self._fabric, self._machine.name
        arrives = fabric.world.now + fabric.delay(name, CLIENT)
        fabric.carry(name, CLIENT, arrives, lambda: self._loop.call_soon(self._lose))

    # --- what comes back --------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes of the node, at the client's machine."""
        self._loop.call_soon(self._receive, data)

    def ended(self) -> None:
        """The node closed the connection."""
        self._loop.call_soon(self._lose)

    def _receive(self, data: bytes) -> None:
        if self.closed:
            return
        try:
            events = self._connection.receive(data)
        except ProtocolError as error:
            self._fabric.world.violate(f"{self._machine.name} sent what no client reads: {error}")
            return
        for event in events:
            if isinstance(event, Reply):
                self._answered(event)

    def _answered(self, reply: Reply) -> None:
        if isinstance(reply.value, HelloReply):
            self.leader = reply.value.leader
            if not self._hello.done():
                self._hello.set_result(None)
        elif not self._hello.done():
            self._hello.set_result(reply.value)
        elif reply.request_id != NO_REQUEST:
            answer = self._waiting.pop(reply.request_id, None)
            if answer is None:
                text = f"{self._machine.name} answered request {reply.request_id} twice"
                self._fabric.world.violate(text)
            elif not answer.done():
                answer.set_result(reply.value)

    def _lose(self) -> None:
        self.closed = True
        if not self._hello.done():
            self._hello.set_result(Refusal(NOT_SENT, "", 0, False))
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_result(LOST)


class NodeEnd(asyncio.Transport):
    """The node's end: a transport under a real `Session`."""

    def __init__(self, fabric: Fabric, process: Process, line: Line) -> None:
        super().__init__()
        self._fabric = fabric
        self._process = process
        self._name = process.node_id
        self._line = line
        self._session: Any = None
        self._unread: list[bytes] = []
        self._paused = self._closing = False
        self._arrives = 0.0
        process.ends.add(self)

    @property
    def lives(self) -> bool:
        """Whether the process has it open."""
        return self._process.fence.up and not self._closing

    # --- from the client --------------------------------------------------------------------------

    def accept(self) -> None:
        """On the node's loop."""
        server = self._process.server
        assert server is not None
        self._session = server.session()
        # In the order of arrival, as sets of objects are not.
        self._session.parked, self._session.forwarded = Bag(), Bag()
        self._session.connection_made(self)

    def arrive(self, data: bytes) -> None:
        """Bytes of the client, at the node's machine."""
        self._process.loop.call_soon(self._read, data)

    def _read(self, data: bytes) -> None:
        if self._paused:
            self._unread.append(data)
        elif not self._closing:
            self._session.data_received(data)

    def hung_up(self) -> None:
        """The client closed, heard at the node's machine."""
        if self.lives:
            self._process.loop.call_soon(self.abort)

    # --- what a session asks of its transport -----------------------------------------------------

    def write(self, data: Any) -> None:
        if self._closing:
            return
        line = self._line
        self._carry(len(data), lambda: line.receive(data))

    def _carry(self, size: int, deliver: Callable[[], object]) -> None:
        fabric = self._fabric
        arrives = fabric.world.now + fabric.delay(self._name, CLIENT, size)
        self._arrives = max(self._arrives, arrives)
        fabric.carry(self._name, CLIENT, self._arrives, deliver)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._process.ends.discard(self)
            self._carry(0, self._line.ended)
            self._process.loop.call_soon(self._session.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        unread, self._unread = self._unread, []
        for data in unread:
            self._process.loop.call_soon(self._read, data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Whatever is written is on its way."""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    # --- the end of the process -------------------------------------------------------------------

    def died(self) -> None:
        """The process is gone, and its system closes the connection."""
        self._closing = True
        self._carry(0, self._line.ended)


class Lines:
    """A client's connections, one to each node that it uses."""

    def __init__(self, make: Callable[[str], Line]) -> None:
        self._make = make
        self._lines: dict[str, Line] = {}

    def to(self, name: str) -> Line:
        """The open one, or a new one."""
        line = self._lines.get(name)
        if line is None or line.closed:
            line = self._lines[name] = self._make(name)
        return line

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())
