"""Whom a leader sends its log to: the members of the newest set, and a few that do not count (A10).

learner --added--> member --removed--> leaving --knows of it, or cannot be told--> gone
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cluster.replication.progress import Progress
from cluster.replication.raft import Raft


class Followers:
    """See the module. `peers`: node id -> its progress. `learners()`: nodes that are to be added.
    Exists only while this node leads; `start`: the first entry of its term."""

    def __init__(
        self,
        raft: Raft,
        learners: Callable[[], Iterable[str]],
        connected: Iterable[str],
        now: float,
    ) -> None:
        self._raft = raft
        self._learners = learners
        self._up = set(connected)
        self._number = raft.roster.number  # the set that `peers` are of
        self._leaving: dict[str, int] = {}  # who was removed -> by which entry
        self.peers = {one: self._new(raft.noop_index, one, now) for one in raft.others}

    def _new(self, next_index: int, peer_id: str, now: float) -> Progress:
        return Progress(next_index, now, connected=peer_id in self._up)

    def follow(self, now: float) -> list[str]:
        """Once per round, and after every change: `peers` are those of the newest set. Who is
        followed no more."""
        raft = self._raft
        if raft.roster.number != self._number:
            self._number = raft.roster.number
            index = raft.roster.newest.entry
            self._leaving |= {one: index for one in self.peers if one not in raft.others}
        for one in [one for one, index in self._leaving.items() if self._has_left(one, index)]:
            del self._leaving[one]
        wanted = {*raft.others, *self._learners(), *self._leaving}
        gone = sorted(set(self.peers) - wanted)
        for one in gone:
            del self.peers[one]
        for one in sorted(wanted - set(self.peers)):
            self.peers[one] = self._new(raft.last_index, one, now)
        return gone

    def _has_left(self, peer_id: str, index: int) -> bool:
        """Whether a node that was removed knows of it, or cannot be told."""
        peer, raft = self.peers[peer_id], self._raft
        if peer_id in raft.others or not peer.connected:
            return True
        return raft.commit_index >= index and peer.applied >= index

    def link_up(self, peer_id: str) -> None:
        """Messages reach the peer from now on; what was sent before may be lost."""
        self._up.add(peer_id)
        peer = self.peers.get(peer_id)
        if peer is not None:
            peer.lost()
            peer.connected = True

    def link_down(self, peer_id: str) -> None:
        """What is on its way may be lost."""
        self._up.discard(peer_id)
        peer = self.peers.get(peer_id)
        if peer is not None:
            peer.connected = False
            peer.lost()
