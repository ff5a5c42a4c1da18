"""The members that a node goes by: the set in its state, and those of its log above it (A10). Pure.

The newest counts, committed or not. The journal tells of every entry that is appended and every
truncation, and at a start all entries above the state are looked at; so the set is always that of
the log as it is.
"""

from __future__ import annotations

from typing import Protocol

from cluster.replication.voters import MEMBERS, Voter, Voters, decode_entry
from cluster.storage.flags import is_kept
from taskq.limits import MIB

_NOBODY = Voter()
# A piece of the log, at the start.
READ_COUNT, READ_SIZE = 256, 4 * MIB


class Log(Protocol):
    """What is asked of the journal."""

    roster: Roster | None

    @property
    def first_index(self) -> int: ...

    @property
    def last_index(self) -> int: ...

    def entries(
        self, first: int, count: int, size_max: int | None = None
    ) -> list[tuple[bytes, int, int]]: ...


class Roster:
    """See the module. `base`: the set in the state, or the founding one. `number` grows whenever
    the newest set is another one; `others`, `majority`, `is_member` (of this node) are its."""

    def __init__(self, node_id: str, base: Voters) -> None:
        self._node_id = node_id
        self._sets = [base]
        self.dismissed_index = 0  # a later set without this node is committed, as others say
        self.number = 0
        self._take()

    def _take(self) -> None:
        self.number += 1
        members = self._sets[-1].members
        self.others = tuple(sorted(one for one in members if one != self._node_id))
        self.majority = len(members) // 2 + 1
        self.is_member = self._node_id in members and self.newest.entry >= self.dismissed_index

    @property
    def newest(self) -> Voters:
        """The set in force."""
        return self._sets[-1]

    def at(self, index: int) -> Voters:
        """The set as of an entry that this process has applied."""
        return next((one for one in reversed(self._sets) if one.entry <= index), self._sets[0])

    def was_member(self, node_id: str) -> bool:
        """Whether it is or was in any set that this process knows of."""
        return any(node_id in one.members for one in self._sets)

    def names(self, node_id: str, index: int) -> bool:
        """Whether it is in a set of an entry after `index`."""
        return any(node_id in one.members for one in self._sets if one.entry > index)

    def left(self) -> set[str]:
        """Who is none by the newest set and was by the one before, as far as this process knows."""
        return {*self.at(self.newest.entry - 1).members} - {*self.newest.members}

    def read(self, log: Log, applied_index: int) -> None:
        """At the start: the entries above the state count, whatever the configuration says; from
        then on the log tells. Raises as `appended`."""
        at = max(applied_index + 1, log.first_index)
        while at <= log.last_index:
            for command, index, _ in log.entries(at, READ_COUNT, READ_SIZE):
                self.appended(index, command)
                at = index + 1
        log.roster = self

    def appended(self, index: int, command: bytes) -> None:
        """An entry was appended to the log. Raises ValueError for a membership entry that this
        version cannot read."""
        if command[:1] == MEMBERS:
            self._sets.append(Voters(index, decode_entry(command)))
            self._take()

    def dismissed(self, index: int) -> None:
        """Entry `index`, which this node does not have, removed it, as a member of that set says:
        it goes by that until its own log tells more. Counting less is always safe."""
        if index > self.dismissed_index:
            self.dismissed_index = index
            self._take()

    def truncated(self, index: int) -> None:
        """The entries from `index` on are gone."""
        kept = [one for one in self._sets[1:] if one.entry < index]
        if len(kept) + 1 < len(self._sets):
            self._sets[1:] = kept
            self._take()

    def loss_of(self, node_id: str, flag: int) -> int:
        """What a flag says of a node: 0 for the one that it was added with. Who bears none, though
        it was added with one that is kept, has another disk: that one is lost."""
        known = self.newest.members.get(node_id, _NOBODY).flag
        if flag == known:
            return 0
        return flag or (known if is_kept(known) else 0)
