"""The leader's side: every peer that needs a snapshot gets one, at most two at once.

A transfer that breaks starts from the beginning, under a new number and with a newer state, after a
pause that grows. It ends for good when the peer has installed it or needs none, cannot read it, or
nothing moved for 30 s; the caller hears of that and may begin again. Who cannot read it gets no
other one on that connection: its next version comes with a new one.

Reading runs in an executor and takes at most a third of a processor; the loop seals and sends one
chunk at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from cluster.replication.snapshots.faces import StateExport
from cluster.replication.snapshots.messages import (
    Installed,
    Message,
    Stop,
    Stream,
    Taken,
    Why,
    encode,
)
from cluster.replication.snapshots.outgoing import Outgoing, Phase

log = structlog.get_logger(__name__)

# Each reads with a core's power at times and holds a state that compactions cannot drop.
STREAM_COUNT_MAX = 2
# A11: so long may a transfer that does not move keep the log from being cut.
PATIENCE_SECS = 30.0
# Before the next try: a lost connection is back within 0.3 s; a full disk takes longer.
PAUSE_SECS = (0.3, 10.0)
# A rest between two reads, as a multiple of the processor time that the last one took: the loop and
# the other threads share the interpreter with it. (Of the time in which it waited for them it would
# owe them nothing: where the loop is busy that is nearly all of it.)
REST = 2.0
# Trying again would end the same way.
FINAL = frozenset({Why.NOT_NEEDED, Why.OTHER_FORMAT})


@dataclass
class _Need:
    """A peer that is to get a snapshot."""

    term: int
    due: float  # when the next try may begin
    pause_secs: float = PAUSE_SECS[0]
    moved_at: float | None = None  # when something moved, as of the first try


class SnapshotSender:
    """See the module. Made and used on one loop.

    `send(peer_id, message)`: false where it cannot be sent. `export()`, in the executor: the state
    as it is on disk, to be read. `on_installed(peer_id, index)`; `on_ended(peer_id, why, applied)`:
    it is over for good without that, and `applied` is what the peer said it has applied (0: it said
    nothing). `on_failure(error)`: the own state could not be read, or a bug; all was ended.
    """

    def __init__(
        self,
        send: Callable[[str, bytes], bool],
        export: Callable[[], StateExport],
        executor: Executor,
        *,
        on_installed: Callable[[str, int], None],
        on_ended: Callable[[str, Why, int], None],
        on_failure: Callable[[BaseException], None],
        thread_secs: Callable[[], float] = time.thread_time,
    ) -> None:
        self._send = send
        self._thread_secs = thread_secs
        self._export = export
        self._executor = executor
        self._on_installed = on_installed
        self._on_ended = on_ended
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._needs: dict[str, _Need] = {}  # in the order in which they are served
        self._running: dict[str, Outgoing] = {}
        self._unable: set[str] = set()  # who cannot read our format, as long as it is connected
        self._number = 0
        self._calls: set[asyncio.Future[Any]] = set()

    # --- what the owner says and asks -------------------------------------------------------------

    def begin(self, peer_id: str, term: int) -> None:
        """The peer needs a state, and this node leads in `term`. Said again, it changes nothing."""
        need = self._needs.get(peer_id)
        if need is not None and need.term == term:
            return
        if need is not None:
            self._forget(peer_id, Why.ENDED)
        self._needs[peer_id] = _Need(term, self._loop.time())
        self._start_due()

    @property
    def peers(self) -> frozenset[str]:
        """Who gets a snapshot, or will: nothing else of the log is sent to them."""
        return frozenset(self._needs)

    @property
    def held_index(self) -> int | None:
        """The log above it must not be cut: a follower will go on from there. None: no transfer."""
        return min((one.index for one in self._running.values()), default=None)

    def peer_lost(self, peer_id: str) -> None:
        """A connection with the peer, in either direction, was lost."""
        self._unable.discard(peer_id)
        transfer = self._running.get(peer_id)
        if transfer is not None:
            self._break(transfer, Why.LOST)

    def offended(self, peer_id: str) -> None:
        """The peer sent what no peer of ours sends."""
        transfer = self._running.get(peer_id)
        if transfer is not None:
            self._break(transfer, Why.MALFORMED)

    def end_all(self) -> None:
        """This node leads no more, or in a new term. `on_ended` is not called."""
        for peer_id in list(self._needs):
            self._forget(peer_id, Why.ENDED)

    async def close(self) -> None:
        """Ends all; afterwards nothing reads the state any more."""
        self.end_all()
        while self._calls:
            await asyncio.wait(self._calls)

    def wake(self, now: float) -> None:
        """Now and then, `now` by the loop's clock: tries again what broke, ends what stands."""
        for peer_id, need in list(self._needs.items()):
            stands = need.moved_at is not None and now - need.moved_at >= PATIENCE_SECS
            if stands and self._needs.get(peer_id) is need:
                self._end(peer_id, Why.STALLED)
        self._start_due()

    # --- messages ---------------------------------------------------------------------------------

    def receive(self, peer_id: str, message: Message) -> None:
        """An answer; of another stream than the present one it is too late."""
        transfer = self._running.get(peer_id)
        if transfer is None or transfer.stream != message.stream:
            return
        match message:
            case Taken(_, sequence):
                self._taken(transfer, sequence)
            case Installed(_, index):
                self._installed(transfer, index)
            case Stop(_, why, applied) if why in FINAL:
                if why is Why.OTHER_FORMAT:
                    self._unable.add(peer_id)
                    text = "a node cannot read the snapshots of this version: upgrade that node"
                    log.error(text, peer=peer_id)
                self._end(peer_id, why, applied)
            case Stop(_, why, _):
                self._break(transfer, why)
            case _:
                self._break(transfer, Why.OUT_OF_ORDER)

    def _taken(self, transfer: Outgoing, sequence: int) -> None:
        if not transfer.taken(sequence):
            self._break(transfer, Why.OUT_OF_ORDER)
            return
        need = self._needs[transfer.peer_id]
        need.moved_at, need.pause_secs = self._loop.time(), PAUSE_SECS[0]
        self._go_on(transfer)

    def _installed(self, transfer: Outgoing, index: int) -> None:
        if not transfer.installed(index):
            self._break(transfer, Why.OUT_OF_ORDER)
            return
        self._close(transfer)
        del self._needs[transfer.peer_id]
        log.info("a snapshot is installed", peer=transfer.peer_id, index=index, size=transfer.size)
        self._on_installed(transfer.peer_id, index)
        self._start_due()

    # --- one transfer -----------------------------------------------------------------------------

    def _start_due(self) -> None:
        now = self._loop.time()
        for peer_id, need in self._needs.items():
            if len(self._running) == STREAM_COUNT_MAX:
                return
            if need.due <= now and peer_id not in self._running and peer_id not in self._unable:
                self._start(peer_id, need, now)

    def _start(self, peer_id: str, need: _Need, now: float) -> None:
        self._number += 1
        transfer = Outgoing(peer_id, Stream(need.term, self._number))
        self._running[peer_id] = transfer
        if need.moved_at is None:
            need.moved_at = now
        self._call(self._export, partial(self._opened, transfer))

    def _opened(self, transfer: Outgoing, export: StateExport) -> None:
        if transfer.phase is Phase.ENDED:
            self._call(export.close)
            return
        begin = transfer.opened(export)
        log.info("a snapshot is sent", peer=transfer.peer_id, index=begin.index)
        self._say(transfer, begin)
        self._go_on(transfer)

    def _go_on(self, transfer: Outgoing) -> None:
        if transfer.may_read:
            transfer.reading = True
            self._call(partial(transfer.read, self._thread_secs), partial(self._read, transfer))

    def _read(self, transfer: Outgoing, found: tuple[bytes, float]) -> None:
        transfer.reading = False
        if transfer.phase is Phase.ENDED:
            return
        data, secs = found
        transfer.resting = True
        self._loop.call_later(secs * REST, self._rested, transfer)
        self._say(transfer, transfer.next(data))

    def _rested(self, transfer: Outgoing) -> None:
        transfer.resting = False
        self._go_on(transfer)

    def _say(self, transfer: Outgoing, message: Message) -> None:
        if not self._send(transfer.peer_id, encode(message)):
            self._break(transfer, Why.LOST)

    # --- the end of one ---------------------------------------------------------------------------

    def _break(self, transfer: Outgoing, why: Why) -> None:
        """It did not work: again, a little later, behind the others."""
        self._close(transfer, why)
        need = self._needs.pop(transfer.peer_id)
        need.due = self._loop.time() + need.pause_secs
        need.pause_secs = min(need.pause_secs * 2, PAUSE_SECS[1])
        self._needs[transfer.peer_id] = need
        log.warning("a snapshot broke off", peer=transfer.peer_id, why=why.name)
        self._start_due()

    def _end(self, peer_id: str, why: Why, applied: int = 0) -> None:
        self._forget(peer_id, why)
        log.info("no snapshot is sent any more", peer=peer_id, why=why.name)
        self._on_ended(peer_id, why, applied)
        self._start_due()

    def _forget(self, peer_id: str, why: Why) -> None:
        del self._needs[peer_id]
        transfer = self._running.get(peer_id)
        if transfer is not None:
            self._close(transfer, why)

    def _close(self, transfer: Outgoing, why: Why | None = None) -> None:
        """Lets go of the state, and tells the peer why where that is worth telling."""
        begun = transfer.phase is not Phase.OPENING
        transfer.phase = Phase.ENDED
        del self._running[transfer.peer_id]
        if transfer.export is not None:
            self._call(transfer.export.close)
        if begun and why is not None and why is not Why.LOST:
            self._send(transfer.peer_id, encode(Stop(transfer.stream, why, 0)))

    # --- the executor -----------------------------------------------------------------------------

    def _call(self, work: Callable[[], Any], then: Callable[[Any], None] | None = None) -> None:
        """Runs `work` in the executor, behind what was given to it before, and `then` here."""
        call = self._loop.run_in_executor(self._executor, work)
        self._calls.add(call)
        call.add_done_callback(partial(self._called, then))

    def _called(self, then: Callable[[Any], None] | None, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if call.cancelled():
            return
        error = call.exception()
        if error is not None:
            self.end_all()  # the others read the same disk
            self._on_failure(error)
        elif then is not None:
            then(call.result())
