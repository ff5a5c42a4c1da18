"""What must hold after every step, asked of the real objects of each node.

At most one leader in a term; terms and commit indices only grow; nothing is applied that is not
committed, and nothing is in the state on disk that nobody applied; log time is bounded by clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from chaos.sim.oracle import Oracle
from chaos.sim.world import World
from cluster.storage.errors import DataDamaged
from cluster.storage.state_records import DATA
from cluster.storage.state_store import read_state_head
from taskq.commands import AddMember, RemoveMember
from taskq.machine.machine import Applied

if TYPE_CHECKING:
    from chaos.sim.machine import Machine
    from chaos.sim.process import Process

FAMILIES = b"egnmqtpoarswuxlkcfdzy"
LEADER = 2  # PySyncObj's state of a leader
# After so many applications a node's whole map is compared.
COMPARE_EVERY = 40


class Checks:
    """All checks of a run over `machines`."""

    def __init__(
        self, world: World, machines: Callable[[], Iterable[Machine]], founding: Iterable[str]
    ) -> None:
        self._world = world
        self._machines = machines
        self.oracle = Oracle(world.violate, self._new_entry, founding)
        self._wall_bound = 0.0  # Unix time, ms
        self._leaders: dict[int, str] = {}
        self._applied = 0

    # --- after every turn of a node's loop --------------------------------------------------------

    def after_turn(self, process: Process) -> None:
        """Terms, leaders, commit."""
        core: Any = process.core
        if core is None:
            return
        raft, node = core.raft, process.node_id
        term, commit = raft.term, raft.commit_index
        seen = process.seen
        if raft is not seen.raft:
            seen.raft, seen.term, seen.commit = raft, term, commit
        if term < seen.term:
            self._world.violate(f"{node}: term {term} after {seen.term}")
        if commit < seen.commit:
            self._world.violate(f"{node}: commit index {commit} after {seen.commit}")
        if raft.applied_index > max(commit, 1):
            self._world.violate(f"{node} applied {raft.applied_index}, committed {commit}")
        seen.term, seen.commit = term, commit
        if raft._SyncObj__raftState == LEADER and not core.driver.stopped:
            self._leads(node, term)

    def _leads(self, node: str, term: int) -> None:
        leader = self._leaders.setdefault(term, node)
        if leader != node:
            self._world.violate(f"two leaders in term {term}: {leader} and {node}")
        elif self._world.counts["terms led"] < len(self._leaders):
            self._world.note("terms led", node, f"term {term}")

    # --- at every application ---------------------------------------------------------------------

    def asked(self, term: int, change: AddMember | RemoveMember) -> None:
        """Somebody asked the leader of that term to change the members."""
        self.oracle.asked.add((term, type(change).__name__, change.node_id))

    def applied(self, process: Process, applier: Any, index: int, term: int, done: Any) -> None:
        """A node applied an entry; `done`: its bytes and result, None for a no-op."""
        entry: bytes | None = None
        result: Applied | None = None
        if done is not None:
            entry, result = done
        self.oracle.learn(process.node_id, index, term, entry, result)
        self._applied += 1
        if self._applied % COMPARE_EVERY == 0:
            self.compare(process.node_id, index, applier)

    def compare(self, node: str, index: int, applier: Any) -> None:
        """A node's whole map, overlay and all."""
        view = applier.machine._state.view
        values: dict[bytes, bytes] = {}
        for letter in FAMILIES:
            values.update(view.scan(bytes((letter,)), None, 1 << 40))
        self.oracle.check_map(node, index, values)
        self._world.counts["maps compared"] += 1

    def _new_entry(self, index: int, elapsed_ms: int, wall_ms: int) -> None:
        """Wall time: never past what the clocks of a majority of members have ever shown. It does
        not go back where members with slower clocks take the place of others."""
        reached = self._wall_bound
        # The leader may not have had the newest set yet when it stamped the entry.
        for voters in (self.oracle.voters, self.oracle.former_voters):
            members = [one for one in self._machines() if one.name in voters.members]
            shown = sorted((machine.wall_reached for machine in members), reverse=True)
            reached = max(reached, shown[len(shown) // 2] * 1000)
        self._wall_bound = reached
        if wall_ms > reached + 1:
            self._world.violate(f"entry {index} has wall time {wall_ms}, past {reached:.0f}")

    # --- disks ------------------------------------------------------------------------------------

    def state_on_disk(self, machine: Machine) -> None:
        """What a node's disk holds is the state at exactly the index that it names."""
        files = machine.disk.folders.get("state")
        if files is None or files.rotten:
            return
        view = machine.view_of_state()
        try:
            _, _, index, *_ = read_state_head(view)
        except DataDamaged:
            return
        if any(not record.readable for record in files.records()):
            return
        pairs = view.iterate(DATA, keys_end(DATA))
        self.oracle.check_map(
            f"the disk of {machine.name}", index, {key[1:]: value for key, value in pairs}
        )
        self._world.counts["disks compared"] += 1


def keys_end(prefix: bytes) -> bytes:
    """The first key behind all those of a one-byte prefix."""
    assert len(prefix) == 1
    return bytes((prefix[0] + 1,))
