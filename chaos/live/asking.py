"""A question to one node, which answers it itself: no search for the leader, no second attempt."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from taskq.errors import ConnectionFailed, Refusal, as_exception
from taskq.protocol.codec import NO_REQUEST, Push
from taskq.protocol.connection import ClientConnection

READ_SIZE = 1 << 18


async def ask(
    host: str,
    port: int,
    *commands: Any,
    timeout_secs: float = 2.0,
    key: str | None = None,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> list[Any]:
    """The replies of the node at `host`:`port` to these commands, asked one after the other on
    a connection of their own, with an API key and TLS where the node wants them (`server_name`: the
    name in its certificate). Raises ConnectionFailed, and what a refusal stands for."""
    try:
        async with asyncio.timeout(timeout_secs):
            opened = asyncio.open_connection(host, port, ssl=tls, server_hostname=server_name)
            reader, writer = await opened
            try:
                return await _talk(reader, writer, commands, timeout_secs, key)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise ConnectionFailed(f"{host}:{port}: {str(error) or 'no answer in time'}") from error


async def _talk(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    commands: tuple[Any, ...],
    timeout_secs: float,
    key: str | None,
) -> list[Any]:
    wire = ClientConnection()
    writer.write(wire.greet("chaos", key))
    await _answer(reader, wire)
    replies = []
    for command in commands:
        _, frame = wire.request(command, int(timeout_secs * 1000))
        writer.write(frame)
        replies.append(await _answer(reader, wire))
    return replies


async def _answer(reader: asyncio.StreamReader, wire: ClientConnection) -> Any:
    while True:
        data = await reader.read(READ_SIZE)
        if not data:
            raise ConnectionFailed("closed by the node")
        for event in wire.receive(data):
            if isinstance(event, Push):
                continue
            if isinstance(event.value, Refusal):
                raise as_exception(event.value)
            if event.request_id != NO_REQUEST:  # else it tells who leads now
                return event.value
