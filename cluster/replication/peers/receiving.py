"""The connection on which a node receives from one peer, which dialled it.

    STRANGER --Proof, judged welcome--> ADMITTED --> CLOSED     anything unexpected: CLOSED

Nothing but the handshake is read from a stranger. Messages are delivered one by one, in order; once
`close` was called none is delivered any more, whatever was read already (A4).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from cluster.replication.peers.frames import (
    FRAME_SIZE_MAX,
    FrameError,
    FrameReader,
    Opener,
)
from cluster.replication.peers.handshake import Accepting, Verdict

if TYPE_CHECKING:
    from cluster.replication.peers.door import Door


class ReceivingLink(asyncio.Protocol):
    """See the module."""

    def __init__(self, door: Door, accepting: Accepting, address: str) -> None:
        self.accepting = accepting
        self.address = address
        self.ssl_object: ssl.SSLObject | None = None
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._opener: Opener | None = None
        self._paused = False
        self._closed = False
        self._in_delivery = False

    @property
    def peer_id(self) -> str:
        """The proved id of the peer; "stranger" before."""
        return self.accepting.peer.node_id if self.accepting.peer is not None else "stranger"

    # --- called by the transport ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the Hello."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self.ssl_object = transport.get_extra_info("ssl_object")
        if self._closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Goes on with the handshake, or delivers the messages that `data` completes."""
        if self._closed:
            return
        self._reader.feed(data)
        self._go_on()

    def eof_received(self) -> bool:
        """A peer that sends no more is gone: close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Leaves its place. What is held and undelivered is forgotten."""
        self._transport = None
        self._closed = True
        self._door.left(self, exc)

    # --- frames -----------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._in_delivery:
            return  # a callback resumed this connection: the loop below sees it
        self._in_delivery = True
        try:
            while not (self._closed or self._paused):
                frame = self._reader.next()
                if frame is None:
                    return
                if self._opener is None:
                    self._greet(self.accepting.receive(frame))
                else:
                    self._door.deliver(self, self._opener.open(frame))
        except FrameError as error:
            self._door.offended(self, error)
        finally:
            self._in_delivery = False

    def _greet(self, answer: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        if answer:
            transport.write(answer)
        if self.accepting.peer is None:
            return
        if self._reader.pending:
            # An honest peer waits for the verdict.
            raise FrameError("bytes behind the proof")
        verdict = self._door.judge(self)
        transport.write(self.accepting.verdict(verdict))
        if verdict is Verdict.WELCOME:
            self._opener = Opener(self.accepting.message_key)
            self._reader.size_max = FRAME_SIZE_MAX
            self._door.admit(self)
        else:
            self._closed = True
            transport.close()

    # --- called by the door -----------------------------------------------------------------------

    def pause(self, paused: bool) -> None:
        """Stops delivering and reading, or goes on with both."""
        if paused == self._paused or self._transport is None or self._closed:
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
            self._go_on()

    def close(self) -> None:
        """Ends the connection at once: nothing is delivered after this call."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()
