"""The port for clients and workers: listens, and stops without leaving anybody hanging.

`BrokerServer` joins the parts of this package; `cluster/node.py` makes one for each node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from ssl import SSLContext

import structlog

from cluster.config.groups import ApiKey
from cluster.server.access import Access
from cluster.server.counters import Counters
from cluster.server.dispatcher import Dispatcher
from cluster.server.forwarding import Forwarding
from cluster.server.pushes import WorkerLinks
from cluster.server.quota import Quota
from cluster.server.remotes import Remotes
from cluster.server.replica import Replica
from cluster.server.requester import Handler, Requester
from cluster.server.session import Session
from cluster.server.sessions import Sessions
from cluster.server.tls_port import PortRules, TlsPort
from cluster.server.waiters import Waiting
from taskq.errors import ErrorCode, refuse
from taskq.protocol.connection import ServerConnection

log = structlog.get_logger(__name__)

# A burst of connections after a restart waits here instead of being refused by the kernel.
BACKLOG = 1024
# How long written answers may take to leave after everything is answered.
CLOSE_SECS = 1.0
# How often it is looked whether all is answered. Only while stopping.
POLL_SECS = 0.01
RETRY_AFTER_MS = 1_000
# TLS handshakes under way at once: each costs a core a millisecond, and some 100 KiB for a moment.
# They count as connections, but for a few, which are let in to be told that the node is full.
HANDSHAKE_COUNT_MAX, HANDSHAKE_COUNT_MIN = 256, 64


class BrokerServer:
    """One node's server. All of it runs on the loop on which it was made.

    `on_failure` is told when the state cannot be read; the request is refused by then.
    """

    def __init__(
        self,
        replica: Replica,
        access: Access,
        quota: Quota | None = None,
        *,
        server_version: str = "",
        on_failure: Callable[[BaseException], None] = lambda _: None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.quota = quota or Quota()
        self.counters = Counters()
        loop = loop or asyncio.get_running_loop()
        self.waiting = Waiting(loop, replica, self.quota.waiting_count_max)
        self.links = WorkerLinks()
        self.dispatcher = Dispatcher(
            *(replica, self.waiting, self.links, access.cursors, on_failure),
            partial(self._forwarding, replica, loop),
            server_version,
        )
        self.forwarding = self.dispatcher.forwarding
        self.sessions = Sessions(
            loop, self.quota, self.counters, access, self.dispatcher, server_version
        )
        self.remotes = Remotes(
            replica, self.sessions, self.forwarding, self.dispatcher.remote_handlers
        )
        self._access = access
        self._loop = loop
        self._listener: asyncio.Server | TlsPort | None = None

    def replace_keys(self, keys: Sequence[ApiKey]) -> int:
        """Other API keys count from now on; how many sessions ended because theirs do not."""
        self._access.replace(keys)
        return self.sessions.revoke()

    def _forwarding(
        self,
        replica: Replica,
        loop: asyncio.AbstractEventLoop,
        route: Callable[[Requester], dict[int, Handler]],
    ) -> Forwarding:
        count_max = self.quota.waiting_count_max
        return Forwarding(loop, replica, self.counters, count_max, route, self._is_over)

    def _is_over(self) -> bool:
        return self.sessions.is_over()

    def session(self) -> Session:
        """A protocol for one connection."""
        return Session(self.sessions)

    async def start(
        self, host: str, port: int, context: Callable[[], SSLContext] | None = None
    ) -> int:
        """Listens, with TLS where there is a `context` for each handshake; the port that was taken,
        where `port` is 0. Raises OSError."""
        if context is not None:
            text = "this port speaks TLS: use taskqs:// instead of taskq://"
            answer = ServerConnection().goodbye(refuse(ErrorCode.INVALID_REQUEST, text))
            rules = PortRules("broker.port", self._guest_count_max, self.quota.hello_secs, answer)
            self._listener = TlsPort(context, self.session, rules, self.counters.drop)
            taken = await self._listener.open(host, port)
        else:
            self._listener = await self._loop.create_server(
                self.session, host, port, backlog=BACKLOG
            )
            taken = self._listener.sockets[0].getsockname()[1]
        self.sessions.start()
        return taken

    def _guest_count_max(self) -> int:
        room = self.quota.connection_count_max - len(self.sessions)
        return max(min(room, HANDSHAKE_COUNT_MAX), HANDSHAKE_COUNT_MIN)

    async def stop(self, grace_secs: float = 5.0) -> None:
        """Takes no more requests, answers those it has for at most `grace_secs`, then closes."""
        if self._listener is not None:
            self._listener.close()
        self.sessions.stop()
        for session in self.sessions.all():
            session.starve(True)
        text = "the node is stopping"
        self.waiting.refuse_all(refuse(ErrorCode.UNAVAILABLE, text, RETRY_AFTER_MS), stale=True)
        self.forwarding.refuse_all()
        await self._until(self._close_idle, grace_secs)
        for session in self.sessions.all():
            session.close()
        await self._until(lambda: not self.sessions.all(), CLOSE_SECS)
        for session in self.sessions.all():
            session.abort("stopping")
        self.waiting.stop()
        self.forwarding.stop()
        self.dispatcher.questions.stop()
        self.dispatcher.backups.stop()

    def _close_idle(self) -> bool:
        """Closes who has all answers: what they send now goes to another node. Whether all have."""
        busy = [session for session in self.sessions.all() if session.in_flight]
        for session in self.sessions.all():
            if not session.in_flight:
                session.close()
        return not busy and not any(session.in_flight for session in self.remotes.all())

    async def _until(self, done: Callable[[], bool], secs: float) -> None:
        end = self._loop.time() + secs
        while not done() and self._loop.time() < end:  # noqa: ASYNC110  # once, at the end
            await asyncio.sleep(POLL_SECS)
