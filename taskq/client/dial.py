"""Opens a connection to one of several nodes.

One `Dialer` per `Link`; remembers which node was good and which members the cluster named.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable

from taskq.client.address import Address, Target, parse_address
from taskq.client.connection import Connection
from taskq.errors import ConnectionFailed, PermissionDenied, RequestRefused, TaskqError
from taskq.results import HelloReply

# For one node: the first round over several nodes passes a silent one quickly, later rounds give
# a slow one more time.
CONNECT_SECONDS = 1.0
CONNECT_SECONDS_MAX = 10.0


class Dialer:
    """Knows the nodes; makes open connections."""

    def __init__(
        self,
        target: Target,
        make: Callable[[], Connection],
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._target = target
        self._make = make
        self._ssl = ssl_context
        self._first = 0  # position of the configured address to try first
        self._members: dict[str, Address] = {}

    def learn(self, hello: HelloReply) -> None:
        """Takes over the members that a node named; an address that makes no sense is left out."""
        members = {}
        for node_id, text in hello.members:
            try:
                members[node_id] = parse_address(text)
            except ValueError:
                continue
        self._members = members

    def address_of(self, node_id: str) -> Address | None:
        """Where a member is reached, if the cluster said so."""
        return self._members.get(node_id)

    def turn(self) -> None:
        """The next configured address comes first from now on."""
        self._first = (self._first + 1) % len(self._target.addresses)

    def candidates(self) -> list[Address]:
        """All that may be tried: the configured ones from the last good one on, then members."""
        configured = self._target.addresses
        turned = [*configured[self._first :], *configured[: self._first]]
        return list(dict.fromkeys([*turned, *self._members.values()]))

    async def round(self, number: int) -> Connection:
        """One attempt at each node until one opens. `number` counts rounds from 0.

        Raises PermissionDenied where the credential is wrong, a refusal where no node opened and
        one of them refused, else ConnectionFailed.
        """
        seconds = min(CONNECT_SECONDS * 2**number, CONNECT_SECONDS_MAX)
        failures: list[str] = []
        refusal: RequestRefused | None = None
        for address in self.candidates():
            try:
                connection = await self.connect(address, seconds)
            except PermissionDenied:
                raise
            except RequestRefused as error:
                refusal = error
                failures.append(f"{address}: {error}")
            except TaskqError as error:
                failures.append(f"{address}: {error}")
            else:
                if address in self._target.addresses:
                    self._first = self._target.addresses.index(address)
                return connection
        if refusal is not None:
            raise refusal
        raise ConnectionFailed("; ".join(failures))

    async def connect(self, address: Address, seconds: float) -> Connection:
        """An open connection. Raises ConnectionFailed, or what the node answered Hello with."""
        loop = asyncio.get_running_loop()
        connection = self._make()
        try:
            async with asyncio.timeout(seconds):
                await loop.create_connection(
                    lambda: connection,
                    address.host,
                    address.port,
                    ssl=self._ssl,
                    server_hostname=address.host if self._ssl else None,
                )
                hello = await connection.opened
        except TimeoutError:
            error = ConnectionFailed(f"no answer within {seconds:g} s")
            connection.abort(error)
            raise error from None
        except (OSError, ssl.SSLError) as cause:
            failed = ConnectionFailed(_why(cause))
            connection.abort(failed)
            raise failed from cause
        except BaseException as cause:
            connection.abort(cause if isinstance(cause, TaskqError) else ConnectionFailed("closed"))
            raise
        self.learn(hello)
        return connection


def _why(error: OSError) -> str:
    """In the system's words; asyncio's own repeat the address."""
    if error.errno is None or error.errno <= 0 or isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    return os.strerror(error.errno)
