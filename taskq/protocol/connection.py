"""The two ends of a connection without any I/O: bytes in, events out; values in, bytes out.

    server:  NEW --Hello--> OPEN       anything else first: ProtocolError
    client:  NEW --HelloReply--> OPEN  a refusal to Hello: the session does not open

The shells (`cluster/server`, `taskq/client`) own sockets, clocks and limits; after a
ProtocolError they close the connection.
"""

from __future__ import annotations

from typing import Any

from taskq.commands import PROTOCOL_VERSION, Hello
from taskq.errors import ErrorCode, ProtocolError, Refusal, refuse
from taskq.limits import FRAME_SIZE_MAX, KIB
from taskq.protocol.codec import (
    NO_REQUEST,
    Pack,
    Push,
    Rejected,
    Reply,
    Request,
    decode_answer,
    decode_request,
    encode_push,
    encode_reply,
    encode_request,
    make_pack,
)
from taskq.protocol.frame import Frame, FrameReader
from taskq.registry import MESSAGE_OF
from taskq.results import HelloReply

# Nothing larger is read from a stranger: Hello with its longest key fits many times over.
HELLO_SIZE_MAX = 4 * KIB

_HELLO = MESSAGE_OF[Hello].code

# A node has one loop, and connections that shared no packer would each keep a buffer as large as
# their largest reply. A client may have a loop in every thread: there, each has its own.
_NODE_PACK = make_pack()


class ServerConnection:
    """The node's end of one connection."""

    __slots__ = ("_frames", "_greeted", "opened")

    def __init__(self) -> None:
        self._frames = FrameReader(HELLO_SIZE_MAX)
        self._greeted = False
        self.opened = False

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame held."""
        return self._frames.pending

    def receive(self, data: bytes) -> list[Request | Rejected]:
        """Requests completed by `data`. The first one is a Hello; a client waits for its answer:
        any byte behind it that arrives before `accept` ends the connection.

        Raises ProtocolError: send `goodbye`, then close. Requests that arrived with the illegal
        bytes are dropped.
        """
        frames = self._frames.feed(data)
        if not self.opened:
            self._check_greeting(frames)
        requests = []
        for kind, payload in frames:
            if kind == _HELLO and self.opened:
                raise ProtocolError("a second Hello")
            requests.append(decode_request(kind, payload))
        return requests

    def _check_greeting(self, frames: list[Frame]) -> None:
        if not frames and not self._greeted:
            return  # nothing, or a part of the first frame
        if not self._greeted and frames[0][0] != _HELLO:
            raise ProtocolError("the first frame must be Hello")
        if len(frames) > (0 if self._greeted else 1) or self._frames.pending:
            raise ProtocolError("the answer to Hello must be awaited")
        self._greeted = True

    def accept(self, request_id: int, reply: HelloReply) -> bytes:
        """Opens the session; the frame to send."""
        self.opened = True
        self._frames.allow(FRAME_SIZE_MAX)
        return encode_reply(_NODE_PACK, _HELLO, request_id, reply)

    def reply(self, code: int, request_id: int, value: Any) -> bytes:
        """The frame that answers a request. A reply too large for a frame becomes a refusal."""
        try:
            return encode_reply(_NODE_PACK, code, request_id, value)
        except ProtocolError as error:
            refusal = refuse(ErrorCode.RESULT_TOO_LARGE, str(error))
            return encode_reply(_NODE_PACK, code, request_id, refusal)

    def push(self, command: Any) -> bytes:
        """The frame of a message that nobody asked for."""
        return encode_push(_NODE_PACK, command)

    def goodbye(self, refusal: Refusal) -> bytes:
        """The frame that tells why the connection is about to be closed."""
        return encode_reply(_NODE_PACK, 0, NO_REQUEST, refusal)


def announcement(reply: HelloReply) -> bytes:
    """The frame that tells open sessions of a new leader: an answer to Hello that nobody asked."""
    return encode_reply(_NODE_PACK, _HELLO, NO_REQUEST, reply)


class ClientConnection:
    """The client's end of one connection; numbers requests."""

    __slots__ = ("_frames", "_last_request_id", "_pack", "hello", "opened")

    def __init__(self) -> None:
        self._pack: Pack = make_pack()
        self._frames = FrameReader()
        self._last_request_id = 0
        self.opened = False
        self.hello: HelloReply | None = None

    def greet(self, client: str, key: str | None) -> bytes:
        """The first frame to send."""
        _, frame = self.request(Hello([PROTOCOL_VERSION], client, key))
        return frame

    def request(self, command: Any, deadline_ms: int = 0) -> tuple[int, bytes]:
        """A new request id and the frame to send. Raises ProtocolError where it is too large."""
        request_id = self._last_request_id + 1
        frame = encode_request(self._pack, command, request_id, deadline_ms)
        self._last_request_id = request_id
        return request_id, frame

    def receive(self, data: bytes) -> list[Reply | Push]:
        """Answers completed by `data`. The answer to Hello sets `opened` and `hello`.

        Raises ProtocolError: close the connection.
        """
        events = []
        for kind, payload in self._frames.feed(data):
            event = decode_answer(kind, payload)
            if not self.opened:
                self._check_first(event)
            events.append(event)
        return events

    def _check_first(self, event: Reply | Push) -> None:
        value = event.value if isinstance(event, Reply) else None
        if isinstance(value, HelloReply):
            self.opened, self.hello = True, value
        elif not isinstance(value, Refusal):
            raise ProtocolError("the first answer must be that to Hello")
