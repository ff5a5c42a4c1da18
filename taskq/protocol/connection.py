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
    Push,
    Rejected,
    Reply,
    Request,
    decode_answer,
    decode_request,
    encode_push,
    encode_reply,
    encode_request,
)
from taskq.protocol.frame import FrameReader
from taskq.registry import MESSAGE_OF
from taskq.results import HelloReply

# Nothing larger is read from a stranger: Hello with its longest key fits many times over.
HELLO_SIZE_MAX = 4 * KIB

_HELLO = MESSAGE_OF[Hello].code


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
        """Requests completed by `data`. The first one is a Hello: nothing behind it is decoded
        until `accept`; `resume` gives what had already arrived.

        Raises ProtocolError: send `goodbye`, then close.
        """
        return [self._request(kind, payload) for kind, payload in self._frames.feed(data)]

    def _request(self, kind: int, payload: bytes) -> Request | Rejected:
        if not self.opened:
            if self._greeted or kind != _HELLO:
                raise ProtocolError("the first frame must be Hello, and its answer awaited")
            self._greeted = True
        elif kind == _HELLO:
            raise ProtocolError("a second Hello")
        return decode_request(kind, payload)

    def accept(self, request_id: int, reply: HelloReply) -> bytes:
        """Opens the session; the frame to send."""
        self.opened = True
        self._frames.allow(FRAME_SIZE_MAX)
        return encode_reply(_HELLO, request_id, reply)

    def reply(self, code: int, request_id: int, value: Any) -> bytes:
        """The frame that answers a request. A reply too large for a frame becomes a refusal."""
        try:
            return encode_reply(code, request_id, value)
        except ProtocolError as error:
            return encode_reply(code, request_id, refuse(ErrorCode.RESULT_TOO_LARGE, str(error)))

    def push(self, command: Any) -> bytes:
        """The frame of a message that nobody asked for."""
        return encode_push(command)

    def goodbye(self, refusal: Refusal) -> bytes:
        """The frame that tells why the connection is about to be closed."""
        return encode_reply(0, NO_REQUEST, refusal)


class ClientConnection:
    """The client's end of one connection; numbers requests."""

    __slots__ = ("_frames", "_last_request_id", "hello", "opened")

    def __init__(self) -> None:
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
        frame = encode_request(command, request_id, deadline_ms)
        self._last_request_id = request_id
        return request_id, frame

    def receive(self, data: bytes) -> list[Reply | Push]:
        """Answers completed by `data`. The answer to Hello sets `opened` and `hello`.

        Raises ProtocolError: close the connection.
        """
        events = [decode_answer(kind, payload) for kind, payload in self._frames.feed(data)]
        if not self.opened and events:
            first = events[0]
            if isinstance(first, Reply) and isinstance(first.value, HelloReply):
                self.opened, self.hello = True, first.value
            elif not (isinstance(first, Reply) and isinstance(first.value, Refusal)):
                raise ProtocolError("the first answer must be that to Hello")
        return events
