"""How far a stopped member has come, so that people can choose who goes on when most are lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster.replication.founding_record import Stage, record_of
from cluster.replication.journal import STAND_IN
from cluster.replication.raft import REGULAR
from cluster.replication.roster import Roster
from cluster.replication.voters import decode_record, founders
from cluster.storage.flags import NON_VOTING_FLAG, UNCERTAIN_FLAG
from cluster.storage.identity import Identity
from cluster.storage.log_records import Entry
from cluster.storage.looking import look
from cluster.storage.unfinished import marked
from taskq.machine import keys
from taskq.machine.entry import decode_entry
from taskq.machine.record import unpack


@dataclass(frozen=True)
class Findings:
    """What a folder holds. `last`: index and term of the last entry that it has, in its log or in
    its state; the node whose `last` has the higher term, or in the same term the higher index, has
    more. `commit_index`: known to be on a majority's disks; above it nobody can tell. `members`:
    node id -> Raft address, of the newest set. `stamps`: cluster time and wall time of its last
    entry. `trouble`: why it cannot go on from here as it is, one sentence each."""

    path: Path
    node_id: str
    cluster_id: str
    member: bool
    last_index: int
    last_term: int
    term: int
    commit_index: int
    state_index: int
    members: dict[str, str]
    stamps: tuple[int, int]
    trouble: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int]:
        """Who has the highest one has all that any of them has acknowledged and is left."""
        return self.last_term, self.last_index


class _Tail:
    """The part of the log above the state, as it passes by."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []  # those that name members
        self.stamps: tuple[int, int] | None = None
        self._last_regular: bytes | None = None

    def take(self, entry: Entry) -> None:
        index, term, command = entry
        if command[:1] == REGULAR:
            self._last_regular = command
        elif command != STAND_IN:
            self.entries.append((index, term, command))

    def finish(self) -> None:
        if self._last_regular is not None:
            elapsed, wall, _ = decode_entry(self._last_regular[1:])
            self.stamps = elapsed, wall


def examine(path: Path) -> Findings:
    """Looks at a stopped node's folder and changes nothing. Raises as `storage.looking.look`."""
    tail = _Tail()
    found = look(path, (keys.MEMBERS, keys.CLOCKS), tail.take)
    tail.finish()
    identity, head = found.identity, found.head
    trouble = [problem for problem in (found.log_damage, found.state_damage) if problem]
    act = marked(path)
    warnings = [f"{act} did not come to its end"] if act else []
    if head is not None and NON_VOTING_FLAG in head.flags:
        warnings.append("it had lost its log and was catching up: it may hold much less")
    if head is not None and UNCERTAIN_FLAG in head.flags:
        warnings.append("its log may have lost its end")
    last_index, last_term = found.index, found.terms[1]
    if head is not None and head.last >= max(1, found.index):
        last_index, last_term = head.last, found.last_term
    if last_index < 2:
        trouble.append("it holds nothing yet")
    record = found.records.get(keys.CLOCKS)
    stored: tuple[int, int] = (0, 0) if record is None else tuple(unpack(record)[:2])
    return Findings(
        path,
        identity.node_id,
        identity.cluster_id,
        bool(identity.founding),
        last_index,
        last_term,
        max(last_term, head.term if head else 0),
        max(found.index, min(head.commit_index, head.last) if head else 0),
        found.index,
        _members(found.records.get(keys.MEMBERS), identity, tail),
        tail.stamps or stored,
        tuple(trouble),
        tuple(warnings),
    )


def _members(record: bytes | None, identity: Identity, tail: _Tail) -> dict[str, str]:
    if record is not None:
        voters = decode_record(record)
    elif identity.founding and record_of(identity).stage is Stage.FORMED:
        voters = founders(sorted(record_of(identity).disks))
    else:
        voters = founders([identity.node_id])
    roster = Roster(identity.node_id, voters)
    for index, _, command in tail.entries:
        roster.appended(index, command)
    return {node_id: voter.address for node_id, voter in roster.newest.members.items()}
