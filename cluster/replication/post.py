"""Messages on their way out: each waits for the flush of what it tells (A2)."""

from __future__ import annotations

from collections.abc import Callable

from cluster.replication.journal import LogJournal
from cluster.replication.messages import Message, encode


class Post:
    """`transmit(peer_id, bytes)` hands a message to the network, which may lose it; whether there
    was a connection. `flush()` has it write what it has. Messages wait in order, but one that
    depends on less may overtake."""

    def __init__(
        self,
        journal: LogJournal,
        transmit: Callable[[str, bytes], bool],
        flush: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._transmit = transmit
        self.flush = flush
        self._waiting: list[tuple[int, str, Message]] = []

    def send(self, peer_id: str, message: Message) -> None:
        """Goes out when term and vote are on disk, as every message tells the term."""
        self._send(self._journal.term_mark, peer_id, message)

    def send_after_all(self, peer_id: str, message: Message) -> None:
        """Goes out when everything that was changed so far is on disk."""
        self._send(self._journal.mark, peer_id, message)

    def _send(self, mark: int, peer_id: str, message: Message) -> None:
        if mark <= self._journal.flushed_mark:
            self._transmit(peer_id, encode(message))
        else:
            self._waiting.append((mark, peer_id, message))

    @property
    def clear(self) -> bool:
        """Whether a message that tells the term could go out now."""
        return self._journal.term_mark <= self._journal.flushed_mark

    def send_encoded(self, peer_id: str, data: bytes) -> bool:
        """Hands encoded bytes over now; only while `clear`. Whether there was a connection."""
        return self._transmit(peer_id, data)

    def release(self) -> None:
        """A flush returned."""
        if not self._waiting:
            return
        flushed = self._journal.flushed_mark
        waiting, self._waiting = self._waiting, []
        for mark, peer_id, message in waiting:
            if mark <= flushed:
                self._transmit(peer_id, encode(message))
            else:
                self._waiting.append((mark, peer_id, message))
