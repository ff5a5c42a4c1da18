"""A server whose sockets are lists: real sessions, real dispatcher, real protocol on both ends."""

from __future__ import annotations

from typing import Any

from cluster.server.access import Access
from cluster.server.quota import Quota
from cluster.server.session import Session
from cluster.server.tcp import BrokerServer
from taskq import commands
from taskq.protocol.codec import NO_REQUEST, Push, Reply
from taskq.protocol.connection import ClientConnection
from taskq.results import HelloReply
from tests.unit.server.memory_replica import MemoryReplica
from tests.unit.server.virtual_loop import VirtualLoop


class Pipe:
    """A transport whose peer reads what it is told to."""

    def __init__(self, loop: VirtualLoop, session: Session) -> None:
        self._loop = loop
        self._session = session
        self.written: list[bytes] = []
        self.unread = 0
        self.reads = True  # the peer takes everything at once
        self.paused = False
        self.closing = self.aborted = self.lost = False
        self._high, self._low = 65_536, 16_384
        self._stuck = False

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self._high, self._low = high, low

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes) -> None:
        if self.closing:
            return
        self.written.append(data)
        if not self.reads:
            self.unread += len(data)
            if self.unread > self._high and not self._stuck:
                self._stuck = True
                self._session.pause_writing()

    def drain(self) -> None:
        """The peer reads all."""
        self.reads, self.unread = True, 0
        if self._stuck:
            self._stuck = False
            self._session.resume_writing()

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def get_extra_info(self, _: str) -> None:
        """No socket."""

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.unread:
                self._loop.call_soon(self._lose)

    def abort(self) -> None:
        if not self.aborted:
            self.closing = self.aborted = True
            self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self._session.connection_lost(None)


class Peer:
    """A client: `ask` sends one request and gives its answer."""

    def __init__(self, rig: Rig, *, greet: bool = True, key: str | None = None) -> None:
        self._rig = rig
        self.session = rig.server.session()
        self.pipe = Pipe(rig.loop, self.session)
        self.connection = ClientConnection()
        self.answers: dict[int, Any] = {}
        self.pushes: list[Any] = []
        self.news: list[str] = []  # leaders as the node announced them
        self.session.connection_made(self.pipe)
        self._seen = 0
        if greet:
            self.receive(self.connection.greet("test", key))

    def receive(self, data: bytes) -> None:
        """Bytes arrive at the server."""
        self.session.data_received(data)
        self._rig.loop.settle()
        self.read()

    def read(self) -> None:
        for data in self.pipe.written[self._seen :]:
            for event in self.connection.receive(data):
                if isinstance(event, Push):
                    self.pushes.append(event.command)
                else:
                    assert isinstance(event, Reply)
                    if event.request_id == NO_REQUEST and isinstance(event.value, HelloReply):
                        self.news.append(event.value.leader)
                        continue
                    assert event.request_id not in self.answers, "answered twice"
                    self.answers[event.request_id] = event.value
        self._seen = len(self.pipe.written)

    def send(self, *asked: Any, deadline_ms: int = 0) -> list[int]:
        """Pipelines requests in one chunk; their ids."""
        pairs = [self.connection.request(command, deadline_ms) for command in asked]
        self.receive(b"".join(frame for _, frame in pairs))
        return [request_id for request_id, _ in pairs]

    def ask(self, command: Any) -> Any:
        (request_id,) = self.send(command)
        return self.answers[request_id]

    def answer(self, request_id: int) -> Any:
        """The answer as of now, or None."""
        self._rig.loop.settle()
        self.read()
        return self.answers.get(request_id)

    def hang_up(self) -> None:
        self.pipe.abort()
        self._rig.loop.settle()


class Rig:
    """A server over a replica in memory, on a loop whose time a test moves."""

    def __init__(
        self,
        access: Access | None = None,
        *,
        loop: VirtualLoop | None = None,
        replica: MemoryReplica | None = None,
        **quota: Any,
    ) -> None:
        self.loop = loop or VirtualLoop()
        self.replica = replica or MemoryReplica(self.loop)
        self.failures: list[BaseException] = []
        self.server = BrokerServer(
            self.replica,
            access or Access(enabled=False),
            Quota(**quota),
            server_version="1.2.3",
            on_failure=self.failures.append,
            loop=self.loop,
        )
        self.server.sessions.start()

    def peer(self, **how: Any) -> Peer:
        return Peer(self, **how)


def task_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def submit(number: int, queue: str = "q", **fields: Any) -> commands.SubmitTask:
    return commands.SubmitTask(task_id(number), queue, **fields)


def claim(
    number: int = 1, *queues: str, worker: bytes = b"w" * 16, **fields: Any
) -> commands.ClaimTask:
    fields.setdefault("wait_ms", 10_000)
    return commands.ClaimTask(worker, number, number, list(queues) or ["q"], **fields)
