"""Keeps one connection to one peer: dials, waits until it is lost, pauses shortly, dials again."""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import Callable

import structlog

from cluster.replication.peers.frames import FrameError
from cluster.replication.peers.handshake import Dialling, NotAuthenticated, Refused
from cluster.replication.peers.introduction import Introduction
from cluster.replication.peers.names import Names, Place, parse_address
from cluster.replication.peers.sending import SendingLink
from cluster.replication.peers.tally import Tally
from cluster.replication.peers.timings import Timings
from cluster.replication.peers.trust import Trust
from cluster.replication.peers.tuning import tune

log = structlog.get_logger(__name__)

# Seldom enough that the address itself is dialled about as often as without.
SPARE_EACH = 4


class Dialler:
    """One peer's dials, one at a time. `places`: its address, and another one for when it is not
    there, or nothing: each fourth dial in vain goes there. Set anew, they count from the next dial
    on. `dialled`: where the last dial went, which is where a connection that is there was made.
    `own()` introduces the next connection of this node."""

    def __init__(
        self,
        peer_id: str,
        places: tuple[str, str],
        own: Callable[[], Introduction],
        trust: Trust,
        timings: Timings,
        names: Names,
        tally: Tally,
        on_ready: Callable[[SendingLink], None],
        on_lost: Callable[[SendingLink], None],
    ) -> None:
        self.places = places
        self.dialled = ""
        self._in_vain = 0
        self._peer_id = peer_id
        self._own = own
        self._trust = trust
        self._timings = timings
        self._names = names
        self._tally = tally
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Dials from now on."""
        self._task = self._loop.create_task(self._run())

    def stop(self) -> asyncio.Task[None] | None:
        """Dials no more; a dial under way is broken off, a ready connection stays. The task that
        ends is handed out for those who want to wait for it."""
        if self._task is not None:
            self._task.cancel()
        return self._task

    async def _run(self) -> None:
        timings = self._timings
        while True:
            try:
                link = await self._dial()
            except Refused as refused:
                self._note(refused.verdict.name.lower(), refused)
            except FrameError as error:
                self._note("secret" if isinstance(error, NotAuthenticated) else "protocol", error)
            except (OSError, TimeoutError) as error:
                self._note("unreachable", error)
            except Exception as error:  # a bug here must not end the dials for ever
                log.exception("a dial failed, by a bug", peer=self._peer_id)
                self._note("bug", error)
            else:
                # The link outlives this task: what it still has to send may be worth waiting for.
                await asyncio.shield(link.lost)
                self._note("lost", link.failure or ConnectionError("the peer closed it"))
            # Always a pause: a peer that accepts and hangs up must not keep the loop busy.
            await asyncio.sleep(random.uniform(timings.redial_secs_min, timings.redial_secs_max))

    def _note(self, kind: str, error: Exception) -> None:
        text = str(error) or type(error).__name__
        self._tally.note(kind, self._peer_id, f"{self.dialled}: {text}")

    async def _dial(self) -> SendingLink:
        """A ready connection. Raises OSError, TimeoutError, FrameError."""
        self._in_vain += 1
        address, spare = self.places
        if spare and self._in_vain % SPARE_EACH == 0:
            self.dialled = spare
            async with asyncio.timeout(self._timings.dial_secs):
                link = await self._dial_at(spare)
        else:
            self.dialled = address
            link = await self._dial_at(address)
        self._in_vain = 0
        return link

    async def _dial_at(self, address: str) -> SendingLink:
        host, port = parse_address(address)
        async with asyncio.timeout(self._timings.dial_secs):
            places = await self._names.places(host, port)
        failure: Exception = OSError(f"{host} has no address")
        for place in places:
            try:
                return await self._greet(await self._connect(place))
            except (OSError, TimeoutError, FrameError) as error:
                failure = error  # a name may have an old address beside the new one
        raise failure

    async def _connect(self, place: Place) -> socket.socket:
        family, address = place
        stream = socket.socket(family, socket.SOCK_STREAM)
        try:
            stream.setblocking(False)
            tune(stream, self._timings.stall_secs)
            async with asyncio.timeout(self._timings.dial_secs):
                await self._loop.sock_connect(stream, address)
        except BaseException:
            stream.close()
            raise
        return stream

    async def _greet(self, stream: socket.socket) -> SendingLink:
        context = self._trust.client_context
        dialling = Dialling(self._own(), self._peer_id, self._trust.key, secrets.token_bytes)
        link = SendingLink(
            *(dialling, self._peer_id, context is not None, self._timings),
            *(self._on_ready, self._on_lost),
        )
        try:
            async with asyncio.timeout(self._timings.handshake_secs):
                await self._loop.create_connection(
                    lambda: link,
                    sock=stream,
                    ssl=context,
                    # Node ids are compared by us (`trust.certifies`), not as host names.
                    server_hostname="" if context else None,
                )
                await link.ready
        except BaseException:
            link.abort()
            stream.close()
            raise
        return link
