"""Who a peer is to this node, and so what of it is taken (A10).

    member    of the newest set that is known, of a later one in this node's log, or followed by it
              as leader (to be added, or leaving): everything
    named     in `raft.peers`, and never a member that left: its word about the cluster, which is
              who its members are, and the feature level
    guest     anybody else who got in: how it is reached, what it lacks to join

The newest set known is the newest committed one in this node's log, or a later one that somebody
tells whose word is taken: so that a node which was away follows members that its log does not name,
and hears of its own removal from nobody else. A node that counts for nothing takes the word of who
was a member once, too: it may be one again. `Membership` asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cluster.replication.core import Core
from cluster.replication.voters import Voters, founders


class Standing:
    """See the module. `named`: ids in `raft.peers`. `founding()`: the set that founded the cluster,
    or is to. `core`: None while there is none."""

    def __init__(self, node_id: str, named: Iterable[str], founding: Callable[[], Voters]) -> None:
        self._node_id = node_id
        self._named = {*named} - {node_id}
        self._founding = founding
        self._letters: dict[str, Voters] = {}  # what each peer told last
        self._told: Voters | None = None  # the newest that was believed, or that a former core knew
        self._met: set[str] = set()  # who was in any set that was believed
        self.core: Core | None = None

    # --- the newest set ---------------------------------------------------------------------------

    @property
    def known(self) -> Voters:
        """The newest set that cannot come to nothing any more, as far as this node knows."""
        committed, told = self._committed, self._told
        return committed if told is None or told.entry <= committed.entry else told

    @property
    def _committed(self) -> Voters:
        if self.core is None:
            return self._told or self._founding()
        raft = self.core.raft
        return raft.roster.at(raft.applied_index)

    def leave(self) -> None:
        """The core is gone for a while; what it knew stays known."""
        self._told, self.core = self.known, None

    def hear(self, peer_id: str, entry: int, members: Iterable[str]) -> None:
        """A peer tells the newest committed set that it knows."""
        told = founders(members)._replace(entry=entry)
        if told.members:
            self._letters[peer_id] = told
            self.weigh()

    def forget(self, peer_id: str) -> None:
        """The peer speaks no more."""
        self._letters.pop(peer_id, None)

    def weigh(self) -> None:
        """Takes the news among what was told, by whose word is taken: one vouches for the next."""
        while news := [
            told
            for peer_id, told in self._letters.items()
            if told.entry > self.known.entry and self.believes(peer_id)
        ]:
            self._told = max(news, key=lambda told: told.entry)
            self._met |= {*self._told.members}

    # --- who may what -----------------------------------------------------------------------------

    def trusts(self, peer_id: str) -> bool:
        """Whether everything that it says is taken."""
        known, core = self.known, self.core
        if peer_id in known.members:
            return True
        if core is None:
            return False
        leading = core.consensus.leading
        followed = leading is not None and peer_id in leading.peers
        return followed or core.raft.roster.names(peer_id, known.entry)

    def believes(self, peer_id: str) -> bool:
        """Whether its word about the cluster is taken."""
        if self.trusts(peer_id):
            return True
        named, was = peer_id in self._named, self._was_member(peer_id)
        if self._counts():
            return named and not was
        return named or was or self._knows_nobody()

    def _was_member(self, peer_id: str) -> bool:
        core = self.core
        was = core is not None and core.raft.roster.was_member(peer_id)
        return was or peer_id in self._met or peer_id in self._founding().members

    def _counts(self) -> bool:
        """Whether others may count on this node, as far as it knows."""
        own, known, core = self._node_id, self.known, self.core
        if core is None:
            return own in known.members
        lost = bool(core.raft.loss) and not core.raft.uncertain
        return not lost and (own in known.members or core.raft.roster.names(own, known.entry))

    def _knows_nobody(self) -> bool:
        """Whether it is alone with an empty disk, by its log and its configuration: whoever of its
        cluster came to it is all that it can go by."""
        return not self._named and self.known.members.keys() <= {self._node_id}
