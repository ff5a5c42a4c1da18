"""Both sides of a node: takes in what comes on the channel of snapshots, and hands it on."""

from __future__ import annotations

import structlog

from cluster.replication.snapshots.messages import Installed, Stop, Taken, decode
from cluster.replication.snapshots.receiver import SnapshotReceiver
from cluster.replication.snapshots.sender import SnapshotSender

log = structlog.get_logger(__name__)


class SnapshotExchange:
    """See the module."""

    def __init__(self, sender: SnapshotSender, receiver: SnapshotReceiver) -> None:
        self.sender = sender
        self.receiver = receiver

    def receive(self, peer_id: str, data: bytes, term: int) -> None:
        """A message of a peer; never raises. `term` is the one that this node is in."""
        try:
            message = decode(data)
        except ValueError as error:
            log.warning("not a message about a snapshot", peer=peer_id, error=str(error))
            self.sender.offended(peer_id)
            self.receiver.offended(peer_id)
            return
        if isinstance(message, (Taken, Installed, Stop)):
            self.sender.receive(peer_id, message)
        if not isinstance(message, (Taken, Installed)):
            self.receiver.receive(peer_id, message, term)

    def peer_lost(self, peer_id: str) -> None:
        """A connection with the peer, in either direction, was lost."""
        self.sender.peer_lost(peer_id)
        self.receiver.peer_lost(peer_id)
