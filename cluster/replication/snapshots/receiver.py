"""The follower's side: one snapshot at a time is built aside, checked, synced and handed over.

Until its end has come and is right, anything that goes wrong makes it as if it had never begun.
From then on it is worth having, whoever leads: its entries are committed. It is finished even if
the connection is lost, and a leader that begins another one meanwhile hears nothing until this one
is installed, and then that its own is not needed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

import structlog

from cluster.replication.snapshots.faces import IncomingState
from cluster.replication.snapshots.incoming import Incoming, Phase
from cluster.replication.snapshots.messages import (
    FORMAT,
    Begin,
    Chunk,
    End,
    Installed,
    Message,
    Stop,
    Stream,
    Taken,
    Why,
    encode,
)
from cluster.storage.errors import StorageError

log = structlog.get_logger(__name__)


class SnapshotReceiver:
    """See the module. Made and used on one loop.

    `send(peer_id, message)`: false where it cannot be sent. `begin_state(index, terms, digest)`,
    in the executor. `applied()`: the index of the last entry that this node has applied.
    `on_life()`: the leader gave a sign of life. `on_ready(index)`: the state is synced, and
    opening the folder swaps it in; the owner does that and says `installed`, or says `dismiss`.
    `on_failure(error)`: what is on disk is not known, or a bug; the node must not go on as it is,
    and nothing was answered.
    """

    def __init__(
        self,
        send: Callable[[str, bytes], bool],
        begin_state: Callable[[int, tuple[int, int], int], IncomingState],
        executor: Executor,
        applied: Callable[[], int],
        *,
        on_ready: Callable[[int], None],
        on_life: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._send = send
        self._begin_state = begin_state
        self._executor = executor
        self._applied = applied
        self._on_ready = on_ready
        self._on_life = on_life
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._current: Incoming | None = None
        self._deferred: tuple[str, Stream] | None = None  # begun while another is finished
        self._leftovers: deque[IncomingState] = deque()
        self._call: asyncio.Future[Any] | None = None  # what the executor does; one at a time

    # --- what the owner says and asks -------------------------------------------------------------

    @property
    def held_index(self) -> int | None:
        """The own log above it must not be cut: whoever opens the folder now may find the state at
        that index. None: no such state."""
        current = self._current
        taking = current is None or current.phase is Phase.TAKING
        return None if taking or current is None else current.index

    def installed(self) -> None:
        """The state that `on_ready` told of is in place and open."""
        current = self._handed_over()
        self._current = None
        log.info("a snapshot was installed", peer=current.peer_id, index=current.index)
        self._say(current.peer_id, Installed(current.stream, current.index))
        self._answer_deferred()

    def dismiss(self) -> None:
        """The state that `on_ready` told of is not above what is applied: it is not installed, and
        until `held_index` says None the folder must not be opened."""
        current = self._handed_over()
        current.phase = Phase.DISMISSED
        self._stop(current.peer_id, current.stream, Why.NOT_NEEDED)
        self._answer_deferred()
        self._go_on()

    def _handed_over(self) -> Incoming:
        current = self._current
        assert current is not None, "no snapshot is under way"
        assert current.phase is Phase.READY, "no snapshot is ready"
        return current

    def new_term(self, term: int) -> None:
        """The node is in `term` now: what another term's leader sends is not taken any more."""
        if self._deferred is not None and self._deferred[1].term != term:
            self._deferred = None
        current = self._current
        if current is not None and current.stream.term != term:
            self._refuse(current, Why.OTHER_TERM)

    def peer_lost(self, peer_id: str) -> None:
        """A connection with the peer, in either direction, was lost."""
        if self._deferred is not None and self._deferred[0] == peer_id:
            self._deferred = None
        self._forget(peer_id)

    def offended(self, peer_id: str) -> None:
        """The peer sent what no peer of ours sends."""
        if self._current is not None and self._current.peer_id == peer_id:
            self._refuse(self._current, Why.MALFORMED)

    async def reset(self) -> None:
        """Forgets what is under way and waits for the disk: afterwards the folder may be closed or
        opened again. A state that was finished is then found in place; `on_ready` is not called."""
        current, self._current = self._current, None
        self._deferred = None
        if current is not None and current.phase in (Phase.TAKING, Phase.DISMISSED):
            self._leave(current)
        self._go_on()
        while self._call is not None:
            await asyncio.wait([self._call])

    # --- messages ---------------------------------------------------------------------------------

    def receive(self, peer_id: str, message: Message, term: int) -> None:
        """A message of a leader; `term` is the one that this node is in."""
        current = self._current
        known = current is not None and (peer_id, message.stream) == (
            current.peer_id,
            current.stream,
        )
        match message:
            case Begin():
                self._begin(peer_id, message, term)
            case Stop():
                if (peer_id, message.stream) == self._deferred:
                    self._deferred = None
                if known:
                    self._forget(peer_id)
            case Chunk() | End() if current is not None and known:
                self._take(current, message, term)
            case Chunk() | End():
                if (peer_id, message.stream) == self._deferred:
                    self._on_life()
                else:
                    self._stop(peer_id, message.stream, Why.OUT_OF_ORDER)
            case _:
                self.offended(peer_id)

    def _begin(self, peer_id: str, begin: Begin, term: int) -> None:
        why = self._objection(begin, term)
        if why is not None:
            self._stop(peer_id, begin.stream, why)
            return
        self._on_life()
        current = self._current
        if current is not None and current.phase is not Phase.TAKING:
            self._deferred = peer_id, begin.stream
            return
        if current is not None:
            self._forget(current.peer_id)
        log.info("a snapshot is taken in", peer=peer_id, index=begin.index)
        self._current = Incoming(peer_id, begin)
        self._go_on()

    def _objection(self, begin: Begin, term: int) -> Why | None:
        current = self._current
        if begin.stream.term != term:
            return Why.OTHER_TERM
        if begin.format != FORMAT:
            return Why.OTHER_FORMAT
        if begin.terms[1] > term:
            return Why.MALFORMED
        if begin.index <= self._applied():
            return Why.NOT_NEEDED
        if current is not None and begin.stream <= current.stream:
            return Why.OUT_OF_ORDER
        return None

    def _take(self, current: Incoming, message: Chunk | End, term: int) -> None:
        if current.stream.term != term:
            self._refuse(current, Why.OTHER_TERM)
        elif current.phase is Phase.TAKING and not current.take(message):
            self._refuse(current, Why.OUT_OF_ORDER)
        else:
            self._on_life()
            self._go_on()

    # --- the end of one ---------------------------------------------------------------------------

    def _refuse(self, current: Incoming, why: Why) -> None:
        """Forgets it and says so, unless it is past that."""
        if current.phase is Phase.TAKING:
            log.warning("a snapshot is not taken any more", peer=current.peer_id, why=why.name)
            self._stop(current.peer_id, current.stream, why)
            self._forget(current.peer_id)

    def _forget(self, peer_id: str) -> None:
        current = self._current
        if current is None or current.peer_id != peer_id or current.phase is not Phase.TAKING:
            return
        self._current = None
        self._leave(current)
        self._go_on()

    def _leave(self, current: Incoming) -> None:
        """Its state is discarded when the executor has come to it. One that is being begun just now
        is found by `_begun`."""
        current.waiting.clear()
        if current.state is not None:
            self._leftovers.append(current.state)

    def _answer_deferred(self) -> None:
        if self._deferred is not None:
            peer_id, stream = self._deferred
            self._deferred = None
            self._stop(peer_id, stream, Why.NOT_NEEDED)

    def _stop(self, peer_id: str, stream: Stream, why: Why) -> None:
        self._say(peer_id, Stop(stream, why, self._applied()))

    def _say(self, peer_id: str, message: Message) -> None:
        """What is not sent need not be: the leader ends what it hears nothing of."""
        self._send(peer_id, encode(message))

    # --- the executor -----------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Gives the executor what is next, if it has nothing to do."""
        current = self._current
        if self._call is not None:
            return
        if self._leftovers:
            self._run(self._leftovers.popleft().discard, self._discarded, self._not_discarded)
        elif current is None or current.phase is Phase.READY:
            return
        elif current.state is None:
            begin = partial(self._begin_state, current.index, current.terms, current.digest)
            self._run(begin, partial(self._begun, current), partial(self._not_taken, current))
        elif current.phase is Phase.DISMISSED:
            self._run(current.state.discard, self._undone, self._on_failure)
        elif current.waiting:
            done = partial(self._written, current)
            write = partial(current.write, current.waiting[0])
            self._run(write, done, partial(self._not_taken, current))
        elif current.is_written and current.index <= self._applied():
            self._refuse(current, Why.NOT_NEEDED)
        elif current.is_written and current.is_whole:
            current.phase = Phase.FINISHING
            done = partial(self._finished, current)
            self._run(current.state.finish, done, partial(self._not_finished, current))
        elif current.is_written:
            self._refuse(current, Why.MALFORMED)

    def _run(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._call = self._loop.run_in_executor(self._executor, work)
        self._call.add_done_callback(partial(self._called, done, failed))

    def _called(
        self,
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        call: asyncio.Future[Any],
    ) -> None:
        self._call = None
        if call.cancelled():
            return
        error = call.exception()
        if error is None:
            done(call.result())
        else:
            failed(error)
        self._go_on()

    def _begun(self, current: Incoming, state: IncomingState) -> None:
        current.state = state
        if current is not self._current:
            self._leftovers.append(state)

    def _written(self, current: Incoming, _: None) -> None:
        if current is self._current:
            self._say(current.peer_id, Taken(current.stream, current.written()))

    def _not_taken(self, current: Incoming, error: BaseException) -> None:
        """Nothing is lost: what is there was built aside."""
        if not isinstance(error, (StorageError, ValueError)):
            self._on_failure(error)
        log.warning("a snapshot cannot be written", peer=current.peer_id, error=str(error))
        if current is self._current:
            why = Why.MALFORMED if isinstance(error, ValueError) else Why.DISK
            self._refuse(current, why)

    def _finished(self, current: Incoming, _: None) -> None:
        if current is self._current:
            current.phase = Phase.READY
            self._on_ready(current.index)

    def _not_finished(self, current: Incoming, error: BaseException) -> None:
        if current is self._current:
            self._current = None
        self._on_failure(error)

    def _discarded(self, _: None) -> None:
        """The disk is free for the next."""

    def _not_discarded(self, error: BaseException) -> None:
        """The next beginning, or opening, removes it."""
        if not isinstance(error, StorageError):
            self._on_failure(error)
        log.warning("a broken snapshot was not removed", error=str(error))

    def _undone(self, _: None) -> None:
        self._current = None
