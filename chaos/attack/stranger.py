"""One connection of somebody who may know the protocol, and follows it only as far as it serves."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Any

from taskq.errors import ProtocolError, Refusal
from taskq.protocol.codec import Reply
from taskq.protocol.connection import ClientConnection

# Far beyond what any answer takes, on a machine that is busy with the attack itself. Seconds.
PATIENCE_SECS = 20.0


class Closed(Exception):
    """The node ended the connection."""


class Stranger:
    """See the module. Close it, or use it as a block."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = ClientConnection()
        self._answers: dict[int, Any] = {}

    @classmethod
    async def connect(
        cls, port: int, context: ssl.SSLContext | None = None, name: str | None = None
    ) -> Stranger:
        """With TLS where there is a context, to a server of that name. Raises Closed."""
        try:
            async with asyncio.timeout(PATIENCE_SECS):
                return cls(
                    *await asyncio.open_connection(
                        "127.0.0.1", port, ssl=context, server_hostname=name if context else None
                    )
                )
        except (OSError, EOFError) as error:
            raise Closed(_told(error)) from error

    @staticmethod
    def greeting(key: str | None) -> bytes:
        """The bytes of Hello."""
        return ClientConnection().greet("attack", key)

    @staticmethod
    def frame(command: Any) -> bytes:
        """The bytes of a request."""
        return ClientConnection().request(command)[1]

    async def hello(self, key: str | None) -> Refusal | None:
        """Asks to be let in; why not, None where it was. Raises Closed."""
        await self.throw(self._connection.greet("attack", key))
        answer = await self._answer(1)
        return answer if isinstance(answer, Refusal) else None

    async def ask(self, command: Any, deadline_ms: int = 0) -> Any:
        """The answer, or a `Refusal`. Raises Closed."""
        request_id, frame = self._connection.request(command, deadline_ms)
        await self.throw(frame)
        return await self._answer(request_id)

    def heard(self, request_id: int) -> Any:
        """What has come as the answer to a request that nobody waits for, or None."""
        return self._answers.pop(request_id, None)

    async def throw(self, data: bytes) -> None:
        """Sends bytes as they are. Raises Closed."""
        try:
            async with asyncio.timeout(PATIENCE_SECS):
                self._writer.write(data)
                await self._writer.drain()
        except OSError as error:
            raise Closed(_told(error)) from error

    async def _answer(self, request_id: int) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_SECS):
                while request_id not in self._answers:
                    self._take(await self.read())
        except (OSError, ProtocolError) as error:
            raise Closed(_told(error)) from error
        return self._answers.pop(request_id)

    def _take(self, data: bytes) -> None:
        for event in self._connection.receive(data):
            if isinstance(event, Reply):
                if event.request_id == 0 and isinstance(event.value, Refusal):
                    raise Closed(event.value.code)
                self._answers[event.request_id] = event.value

    async def read(self) -> bytes:
        """The next bytes. Raises Closed."""
        try:
            data = await self._reader.read(262_144)
        except OSError as error:
            raise Closed(_told(error)) from error
        if not data:
            raise Closed("closed")
        return data

    async def rest(self, within_secs: float = PATIENCE_SECS) -> bytes | None:
        """All that comes until the node closes the connection; None where it does not."""
        parts = []
        try:
            async with asyncio.timeout(within_secs):
                while True:
                    parts.append(await self.read())
        except Closed:
            return b"".join(parts)
        except TimeoutError:
            return None

    async def is_closed(self, within_secs: float = PATIENCE_SECS) -> bool:
        """Whether the node ends the connection in time."""
        return await self.rest(within_secs) is not None

    def close(self) -> None:
        """Hangs up, without a farewell."""
        self._writer.transport.abort()

    async def __aenter__(self) -> Stranger:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _told(error: BaseException) -> str:
    """A word for it that is the same each time."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS failed").lower().replace("_", " ")
    return "closed" if isinstance(error, ConnectionError | EOFError) else type(error).__name__
