"""The broker in memory, as a test holds it: clients, time, a port on request, the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Self

from taskq.client.asynchronous import TIMEOUT_SECONDS, AsyncClient
from taskq.client.blocking import Client
from taskq.client.moment import Duration, datetime_of, duration_ms, wall_ms
from taskq.machine.state import CancelWanted
from taskq.testing.engine import Engine
from taskq.testing.port import Port
from taskq.testing.session import Session
from taskq.testing.transport import MemoryAsyncClient, MemoryClient


class Broker:
    """A broker that lives in the test's own process.

    Its time stands still until `advance`: leases, delays, retries, TTLs and retention all go by it.
    Only a request that waits (`claim(wait=)`, `result(timeout=)`) also ends when so much real time
    has passed, so that no test hangs.

    `start` is the date at which its time begins (with a time zone; default: now). `settings` are
    limits of the machine by their names in `taskq.machine.settings.Settings`, times in
    milliseconds: `{"queue_depth_threshold": 2}`. Raises ValueError for others.

    May be used by any number of threads and event loops.
    """

    def __init__(
        self, *, start: datetime | None = None, settings: Mapping[str, int] | None = None
    ) -> None:
        start_ms = wall_ms(start or datetime.now(UTC), "start")
        # A lock, because blocking clients live on a loop in a thread of its own, and tests do not.
        self._lock = threading.RLock()
        self._engine = Engine(start_ms, settings or {}, self._cancel)
        self._sessions: dict[Session, None] = {}
        self._clients: list[Client] = []
        self._port: Port | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the blocking clients and all connections. A second close does nothing."""
        self._closed = True
        clients, self._clients = self._clients, []
        for client in clients:
            client.close()
        port, self._port = self._port, None
        if port is not None:
            port.close()
        self.disconnect()

    # --- clients ----------------------------------------------------------------------------------

    def client(self, *, timeout: Duration = TIMEOUT_SECONDS, name: str | None = None) -> Client:
        """A blocking client. Closed with the broker."""
        client = MemoryClient(self, timeout, name)
        self._clients.append(client)
        return client

    def async_client(
        self, *, timeout: Duration = TIMEOUT_SECONDS, name: str | None = None
    ) -> AsyncClient:
        """A client for the event loop that first uses it; to be closed there (`async with`)."""
        return MemoryAsyncClient(self, timeout, name)

    @property
    def url(self) -> str:
        """Where programs find it that take a url only: a worker, the command line, a client that
        the code under test makes. From the first time on it listens on a free port of 127.0.0.1."""
        if self._port is None:
            self._port = Port(self)
        return self._port.url

    def disconnect(self) -> None:
        """Breaks every connection, as a restart of the node would. Clients connect again by
        themselves; nothing is lost."""
        with self._lock:
            sessions, self._sessions = self._sessions, {}
            for session in sessions:
                session.close()

    # --- time -------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The broker's date, in UTC."""
        with self._lock:
            moment = datetime_of(self._engine.wall_ms)
        assert moment is not None
        return moment

    @property
    def elapsed(self) -> float:
        """Seconds that have passed since the broker was made."""
        with self._lock:
            return self._engine.elapsed_ms / 1000

    def advance(self, duration: Duration) -> None:
        """Lets so much time pass (seconds, or a timedelta). Whatever falls due meanwhile happens at
        its very moment, in order: a lease ends, a waiting claim gets its task, a result expires."""
        ms = duration_ms(duration, "duration")
        with self._lock:
            self._engine.advance(ms)

    def check(self) -> None:
        """Asserts that every task is accounted for: submitted = sum over all states + removed."""
        with self._lock:
            self._engine.machine.check()

    # --- connections ------------------------------------------------------------------------------

    def connect(
        self,
        send: Callable[[bytes], None],
        hang_up: Callable[[], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> _Line:
        """A connection of a client: for `taskq.testing.transport` and `port`."""
        session = Session(
            self._engine,
            send,
            hang_up,
            lambda secs, act: later(secs, lambda: self._locked(act)),
        )
        with self._lock:
            self._sessions[session] = None
        if self._closed:
            session.close()
        return _Line(self, session)

    def _locked(self, act: Callable[[], None]) -> None:
        with self._lock:
            act()

    def receive(self, session: Session, data: bytes) -> None:
        """Bytes of a client."""
        with self._lock:
            session.receive(data)

    def forget(self, session: Session) -> None:
        """A client has hung up."""
        with self._lock:
            self._sessions.pop(session, None)
            session.lose()

    def _cancel(self, wanted: CancelWanted) -> None:
        """Pushed to the connection on which the worker was heard last."""
        for session in reversed(self._sessions):
            if wanted.worker_id in session.workers:
                session.cancel(wanted.task_id, wanted.token)
                return


class _Line:
    """One connection, for its client."""

    def __init__(self, broker: Broker, session: Session) -> None:
        self._broker = broker
        self._session = session

    def receive(self, data: bytes) -> None:
        """Bytes of the client."""
        self._broker.receive(self._session, data)

    def lose(self) -> None:
        """The client has hung up."""
        self._broker.forget(self._session)
