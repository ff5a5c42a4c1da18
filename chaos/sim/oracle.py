"""What the cluster agreed upon: every entry at its first application, and the state it leads to.

The first node that applies an entry tells the oracle, which applies it to a machine of its own;
every later application, by any node, in any life, must be of the same entry with the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from chaos.sim.order import Order
from cluster.replication import voters
from cluster.replication.voters import MEMBERS, Voters
from taskq.machine import keys
from taskq.machine.claim import Granted
from taskq.machine.entry import decode_entry
from taskq.machine.machine import Applied, Machine
from taskq.machine.view import MemoryView

# The whole map is kept so often; between two of them the changes are.
COPY_EVERY = 64


class _Recording(MemoryView):
    """Remembers what one entry changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[bytes, bytes | None] = {}

    def put(self, key: bytes, value: bytes) -> None:
        self.changes[key] = value
        super().put(key, value)

    def delete(self, key: bytes) -> None:
        self.changes[key] = None
        super().delete(key)


def spelled(result: Applied | None) -> str:
    """All that an entry did, as text that is the same on every node."""
    if result is None:
        return "no-op"
    answers = [_plain(answer) for answer in result.results]
    return repr((answers, sorted(result.readied), *result[2:]))


def _plain(answer: Any) -> Any:
    if isinstance(answer, Granted):
        return [(task.id, task.state, lease.token, lease.deadline) for task, lease in answer.tasks]
    return answer


class Oracle:
    """See the module. `index`: the last entry that anybody applied; `violate(text)` is told what
    must not be; `on_entry(index, elapsed_ms, wall_ms)` hears of each first application. `voters`:
    the members, `former_voters` those before the last change; `asked`: (term, change, node id) of
    each change of members that its leader was asked for."""

    def __init__(
        self,
        violate: Callable[[str], None],
        on_entry: Callable[[int, int, int], None],
        founding: Iterable[str],
    ) -> None:
        self._violate = violate
        self._on_entry = on_entry
        self._view = _Recording()
        self.machine = Machine(self._view)
        self.order = Order(violate)
        self.index = 1  # entry 1 is the same no-op in every log
        self._terms = {1: 0}
        self._entries: dict[int, bytes | None] = {1: None}
        self._results = {1: "no-op"}
        self._changes: dict[int, dict[bytes, bytes | None]] = {1: {}}
        self._copies: dict[int, dict[bytes, bytes]] = {0: {}}
        self._elapsed = self._wall = 0
        self.voters = self.former_voters = voters.founders(founding)
        self.asked: set[tuple[int, str, str]] = set()

    def learn(
        self, node: str, index: int, term: int, entry: bytes | None, result: Applied | None
    ) -> None:
        """A node applied an entry (None: a no-op)."""
        if index > self.index + 1:
            self._violate(f"P6: {node} applied entry {index}, and nobody entry {self.index + 1}")
            return
        if index == self.index + 1:
            self._first(node, index, term, entry)
        if self._terms[index] != term or self._entries[index] != entry:
            self._violate(
                f"P1: {node} applied another entry {index}: term {term} {_said(entry)}, where"
                f" term {self._terms[index]} {_said(self._entries[index])} was committed"
            )
        elif spelled(result) != self._results[index]:
            self._violate(
                f"P6: entry {index} on {node}: {spelled(result)}; it was {self._results[index]}"
            )

    def _first(self, node: str, index: int, term: int, entry: bytes | None) -> None:
        if term < self._terms[self.index]:
            self._violate(f"{node}: entry {index} has term {term} after {self._terms[self.index]}")
        self._view.changes = {}
        result = None
        if entry is not None and entry[:1] == MEMBERS:
            self.former_voters, self.voters = self.voters, Voters(index, voters.decode_entry(entry))
            self._check_change(node, index, term)
            self._view.put(keys.MEMBERS, voters.encode_record(self.voters))
            self._on_entry(index, self._elapsed, self._wall)
        elif entry is not None:
            elapsed, wall, commands = decode_entry(entry)
            if elapsed < self._elapsed or wall < self._wall:
                self._violate(
                    f"entry {index} of {node} takes time back: {elapsed} ms after"
                    f" {self._elapsed}, wall {wall} after {self._wall}"
                )
            self._elapsed, self._wall = elapsed, wall
            result = self.machine.apply(entry)
            self.machine.check()
            self.order.applied(self.machine, elapsed, wall, commands, result.results)
            self._on_entry(index, elapsed, wall)
        self.index = index
        self._terms[index], self._entries[index] = term, entry
        self._results[index] = spelled(result)
        self._changes[index] = self._view.changes
        if index % COPY_EVERY == 0:
            self._copies[index] = dict(self._view.values)

    def _check_change(self, node: str, index: int, term: int) -> None:
        """One node, and what somebody asked the leader of that term for."""
        added = set(self.voters.members) - set(self.former_voters.members)
        gone = set(self.former_voters.members) - set(self.voters.members)
        changes = [("AddMember", one) for one in added] + [("RemoveMember", one) for one in gone]
        if len(changes) != 1:
            self._violate(f"P1: entry {index} of {node} changes {sorted(changes)} at once")
        elif (term, *changes[0]) not in self.asked:
            self._violate(f"entry {index} of term {term}: nobody asked for {' '.join(changes[0])}")

    def map_at(self, index: int) -> dict[bytes, bytes]:
        """The state after entry `index`."""
        start = index - index % COPY_EVERY
        found = dict(self._copies[start])
        for at in range(start + 1, index + 1):
            for key, value in self._changes[at].items():
                if value is None:
                    found.pop(key, None)
                else:
                    found[key] = value
        return found

    def check_map(self, who: str, index: int, values: dict[bytes, bytes]) -> None:
        """A node's whole state at an index must be the one that was agreed upon."""
        if index <= 1:
            if values:
                self._violate(f"P6: {who} is at entry {index} and holds {len(values)} keys")
            return
        if index > self.index:
            self._violate(f"{who} holds the state at {index}, applied by nobody ({self.index})")
            return
        wanted = self.map_at(index)
        if values != wanted:
            keys = sorted(k for k in {*values, *wanted} if values.get(k) != wanted.get(k))
            self._violate(f"P6: {who} at entry {index} differs in {len(keys)} keys: {keys[:4]}")


def _said(entry: bytes | None) -> str:
    if entry is None:
        return "no-op"
    if entry[:1] == MEMBERS:
        return f"members {', '.join(voters.decode_entry(entry))}"
    return ", ".join(repr(command)[:80] for command in decode_entry(entry)[2])


def command_of(entry: bytes | None) -> list[Any]:
    """The commands of an entry, for the trace."""
    return [] if entry is None or entry[:1] == MEMBERS else decode_entry(entry)[2]
