"""Starts requests of one requester, until one of its limits says stop; the rest is put back.

Free functions, for connections of clients and for other nodes alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.server.quota import REQUEST_COST, ROUND_SIZE_MAX, TAKE_COUNT_MAX
from cluster.server.requester import Requester
from cluster.server.scope import lacking
from taskq.errors import ErrorCode, refuse
from taskq.protocol.codec import Rejected, Request


def take(session: Requester, requests: Sequence[Request | Rejected], arrival: float) -> None:
    """Starts requests that arrived at `arrival` (loop time)."""
    if len(requests) > TAKE_COUNT_MAX:
        session.backlog.append(requests[TAKE_COUNT_MAX:], arrival)
        requests = requests[:TAKE_COUNT_MAX]
        session.soil()
        session.steer()
    sessions = session.sessions
    count_max, size_max = session.count_max, session.size_max
    if sessions.must_wait(session):
        size_max = 0
        sessions.starve(session)
    round_end = session.held - session.reserved + ROUND_SIZE_MAX
    handlers = session.handlers
    for position, request in enumerate(requests):
        if session.in_flight >= count_max or session.held >= size_max or session.stuck_at:
            _put_back(session, requests[position:], arrival)
            return
        if session.held - session.reserved >= round_end:
            _put_back(session, requests[position:], arrival)
            session.soil()
            return
        if isinstance(request, Rejected):
            session.reject(request)
            continue
        session.in_flight += 1
        session.held += request.size + REQUEST_COST
        handler = handlers.get(request.message.code)
        if handler is None:
            session.answer((arrival, request), lacking(request.message))
        else:
            handler(session, (arrival, request))
        if session.closed or session.closing_at:
            return


def _put_back(session: Requester, requests: Sequence[Request | Rejected], arrival: float) -> None:
    """What could not be started waits, until there is room."""
    session.backlog.put_back(requests, arrival)
    if session.measure():
        session.soil()
    session.steer()


def take_backlog(session: Requester, now: float) -> None:
    """Goes on with what waited, unless its sender has given up on it."""
    arrival = session.backlog.arrival
    late, fresh = session.backlog.take(now)
    for request in late:
        session.in_flight += 1
        session.held += request.size + REQUEST_COST
        text = f"{request.message.name} waited {now - arrival:.1f} s on its connection"
        session.answer((arrival, request), refuse(ErrorCode.DEADLINE_EXCEEDED, text))
    take(session, fresh, arrival)
    session.steer()


def answer_deferred(session: Requester) -> None:
    """Reads that waited for room, until there is none again."""
    round_end = session.unread + ROUND_SIZE_MAX
    deferred, sessions = session.deferred, session.sessions
    for _ in range(len(deferred)):
        if session.is_full() or session.unread >= round_end:
            return
        sessions.answer(session, deferred.popleft())
