"""Opens a connection to one of several nodes.

One `Dialer` per `Link`; remembers which node was good and which members the cluster named.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Collection, Sequence

from taskq.client.address import Address, Target, parse_address
from taskq.client.connection import Connection
from taskq.client.tls import ClientTls, TlsRefused, failure
from taskq.errors import ConnectionFailed, PermissionDenied, RequestRefused, TaskqError
from taskq.results import HelloReply

# For one node: the first round over several nodes passes a silent one quickly, later rounds give
# a slow one more time.
CONNECT_SECONDS = 1.0
CONNECT_SECONDS_MAX = 10.0
# How long a node has to answer before the next one is tried beside it: enough for one in the same
# region, and short beside the time in which a cluster elects a leader.
STAGGER_SECONDS = 0.05


class Dialer:
    """Knows the nodes; makes open connections."""

    def __init__(
        self,
        target: Target,
        make: Callable[[], Connection],
        tls: ClientTls | None,
        *,
        stays: bool = False,
    ) -> None:
        """`stays`: knows the addresses in `target` and no others, whatever the cluster names."""
        self._target = target
        self._stays = stays
        self._make = make
        self._tls = tls
        self._first = 0  # position of the configured address to try first
        self._members: dict[str, Address] = {}

    def learn(self, hello: HelloReply) -> None:
        """Takes over the members that a node named; an address that makes no sense is left out."""
        members: dict[str, Address] = {}
        for node_id, text in () if self._stays else hello.members:
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

    def candidates(self, avoided: Collection[Address] = ()) -> list[Address]:
        """All that may be tried: the configured ones from the last good one on, then members; those
        to be avoided come last."""
        configured = self._target.addresses
        turned = [*configured[self._first :], *configured[: self._first]]
        known = dict.fromkeys([*turned, *self._members.values()])
        return [*(one for one in known if one not in avoided), *(set(avoided) & known.keys())]

    def addresses_of(self, connection: Connection) -> set[Address]:
        """Under which the node at the other end is known."""
        addresses = set() if connection.address is None else {connection.address}
        member = connection.hello and self._members.get(connection.hello.node_id)
        return addresses | {member} if member else addresses

    def others(self, connection: Connection) -> list[Address]:
        """Candidates beside the node at the other end."""
        own = self.addresses_of(connection)
        return [one for one in self.candidates() if one not in own]

    async def round(self, number: int, avoided: Collection[Address] = ()) -> Connection:
        """One attempt at each node until one opens. `number` counts rounds from 0.

        Raises PermissionDenied where the credential is wrong, a refusal where no node opened and
        one of them refused, else ConnectionFailed, TlsRefused where all failed for TLS.
        """
        seconds = min(CONNECT_SECONDS * 2**number, CONNECT_SECONDS_MAX)
        connection = await self.race(self.candidates(avoided), seconds)
        if connection.address in self._target.addresses:
            self._first = self._target.addresses.index(connection.address)
        return connection

    async def race(self, addresses: Sequence[Address], seconds: float) -> Connection:
        """The first connection to open, of one to each address. An address is tried when the one
        before has failed, or has not answered for a moment: the machine of a node that is gone may
        be gone with it and never say so. Raises what `round` does."""
        waiting = deque(addresses)
        attempts: dict[asyncio.Task[Connection], Address] = {}
        failures: list[str] = []
        hopeless = bool(addresses)
        refusal: RequestRefused | None = None
        try:
            while waiting or attempts:
                if waiting:
                    address = waiting.popleft()
                    attempts[asyncio.create_task(self.connect(address, seconds))] = address
                pause = STAGGER_SECONDS if waiting else None
                done, _ = await asyncio.wait(
                    attempts, timeout=pause, return_when=asyncio.FIRST_COMPLETED
                )
                for attempt in done:
                    error = attempt.exception()
                    if error is None:
                        del attempts[attempt]
                        return attempt.result()
                    if isinstance(error, PermissionDenied) or not isinstance(error, TaskqError):
                        raise error
                    failures.append(f"{attempts.pop(attempt)}: {error}")
                    hopeless = hopeless and isinstance(error, TlsRefused)
                    refusal = error if isinstance(error, RequestRefused) else refusal
        finally:
            await _call_off(attempts)
        if refusal is not None:
            raise refusal
        text = "; ".join(failures) or "no other node is known"
        raise TlsRefused(text) if hopeless else ConnectionFailed(text)

    async def connect(self, address: Address, seconds: float) -> Connection:
        """An open connection. Raises ConnectionFailed, or what the node answered Hello with."""
        loop = asyncio.get_running_loop()
        connection = self._make()
        connection.address = address
        context = None if self._tls is None else self._tls.context()
        try:
            async with asyncio.timeout(seconds):
                await loop.create_connection(
                    lambda: connection,
                    address.host,
                    address.port,
                    ssl=context,
                    server_hostname=address.host if context else None,
                )
                hello = await connection.opened
        except TimeoutError:
            error = ConnectionFailed(f"no answer within {seconds:g} s")
            connection.abort(error)
            raise error from None
        except (OSError, ssl.SSLError) as cause:
            failed = failure(cause, address.host)
            connection.abort(failed)
            raise failed from cause
        except BaseException as cause:
            connection.abort(cause if isinstance(cause, TaskqError) else ConnectionFailed("closed"))
            raise
        self.learn(hello)
        return connection


async def _call_off(attempts: Collection[asyncio.Task[Connection]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for late in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(late, Connection):
            late.abort(ConnectionFailed("another node answered first"))
