"""Builds that are broken on purpose: each leaves out one rule, and the simulation must notice.

A build is a patch of the real objects, undone at the end, with the weights of the faults that its
rule is about; the unbroken build keeps every promise under the same faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from chaos.sim import directory
from chaos.sim.directory import InterruptibleHandle, SimDirectory
from chaos.sim.disk import Disk, SimWitness
from chaos.sim.oracle import Oracle
from chaos.sim.plan import HUNTS, WEIGHTS, Fault
from chaos.sim.seed import Outcome, run_seed
from cluster.replication.applier import Applier
from cluster.replication.consensus import Consensus
from cluster.replication.following import Following
from cluster.replication.founding_record import Stage, record_of
from cluster.replication.leading import Leading
from cluster.replication.membership import Membership
from cluster.replication.messages import Ack, HeartbeatReply, Reject, VoteReply, decode, encode
from cluster.replication.raft import Raft
from cluster.replication.state_writer import StateWriter
from cluster.storage.database import Database
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.flags import NON_VOTING_FLAG
from cluster.storage.identity import Identity
from cluster.storage.log_check import read_head

Patch = Callable[[ExitStack], None]


@dataclass(frozen=True)
class Build:
    """`apply(stack)` puts the patches on; `weights`: of its faults, the usual ones where empty."""

    rule: str
    apply: Patch
    weights: Mapping[str, int] = field(default_factory=dict)
    nodes: int | None = None
    plan: Callable[[int], list[Fault]] | None = None
    shows: str = ""  # what the broken promise must say
    founders: int | None = None  # so many of the nodes found the cluster

    def faults(self, seed: int) -> list[Fault] | None:
        """Those of a run: one hunt after the other, or (None) drawn by the weights."""
        if self.plan is not None:
            return self.plan(seed)
        if self.founders:
            return None
        if set(self.weights) - HUNTS - {"founding"}:
            return None
        (kind,) = self.weights
        if kind == "founding":
            return [Fault(0.0, kind, 0, 1.0, seed)]
        step = HUNT_SECS[kind]
        moments = [5.0 + step * place for place in range(int(50 / step))]
        return [Fault(at, kind, 0, 1.0, seed + place) for place, at in enumerate(moments)]

    def run(self, seed: int) -> Outcome:
        """A run under its faults, by whatever build is on."""
        founders = self.founders or 0
        weights = WEIGHTS if founders else self.weights
        faults = self.faults(seed)
        return run_seed(seed, faults, weights=weights, nodes=self.nodes, founders=founders)


# How long a hunt takes: each has come to its end before the next begins.
HUNT_SECS = {
    "rivals": 4.5,
    "rivals damaged": 6.0,
    "lone copies": 7.0,
    "lone copies damaged": 7.0,
    "usurp": 8.0,
    "late answers": 12.0,
    "amnesia": 10.0,
}
BUILDS: dict[str, Build] = {}

Decorated = Callable[[Patch], Patch]


def build(
    name: str,
    rule: str,
    nodes: int | None = None,
    plan: Callable[[int], list[Fault]] | None = None,
    crashes: bool = False,
    shows: str = "",
    **weights: int,
) -> Decorated:
    """Registers a broken build; names of faults have `_` for a blank; with `crashes`, those of
    `CRASHES` are drawn, too."""

    def register(apply: Patch) -> Patch:
        drawn = {**(CRASHES if crashes else {}), **weights}
        asked = {kind.replace("_", " "): weight for kind, weight in drawn.items()}
        assert set(asked) <= set(WEIGHTS), set(asked) - set(WEIGHTS)
        BUILDS[name] = Build(rule, apply, asked, nodes, plan, shows)
        return apply

    return register


@contextmanager
def broken(name: str) -> Iterator[Build]:
    """While it lasts, every node is built so."""
    with ExitStack() as stack:
        BUILDS[name].apply(stack)
        yield BUILDS[name]


def first_caught(name: str, seeds: range) -> Outcome | None:
    """The first run in which a broken promise of this build shows, None if none does."""
    with broken(name) as one:
        for seed in seeds:
            outcome = one.run(seed)
            if outcome.broken and one.shows in outcome.broken:
                return outcome
    return None


def _put(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(owner, name, value))


# Linux writes back what is older than that (vm.dirty_expire_centisecs).
WRITE_BACK_SECS = 30.0
CRASHES = {"power": 4, "power_majority": 4, "power_all": 4, "kill": 2, "isolate": 3, "one_way": 2}


# --- what is said before it is on disk (A2) -------------------------------------------------------


@build("ack before sync", "A2", lone_copies=1, nodes=3)
def _ack_before_sync(stack: ExitStack) -> None:
    _put(stack, Following, "match", property(lambda self: self.verified))


@build("commit before the leader's own sync", "A2", lone_copies=1, nodes=3)
def _commit_before_sync(stack: ExitStack) -> None:
    def advance(self: Raft) -> None:
        held = [self.journal.last_index, *self.held_by_others()]
        held.sort(reverse=True)
        index = held[self.majority - 1]
        if index > self.commit_index and self.term_at(index) == self.term:
            self.commit_to(index)

    _put(stack, Raft, "_advance_commit", advance)


@build("formed is sent before it is synced", "A9", founding=1, nodes=3)
def _formed_before_sync(stack: ExitStack) -> None:
    update, lose_power = SimDirectory.update_identity, Disk.lose_power
    """Written without a sync: it comes to disk when the system writes it back, if it does."""
    cached: dict[int, tuple[float, Identity]] = {}

    def update_identity(self: SimDirectory, identity: Identity) -> None:
        before = self.identity
        update(self, identity)
        formed = identity.founding and record_of(identity).stage is Stage.FORMED
        if formed and not (before.founding and record_of(before).formed):
            cached[id(self._disk)] = (self._disk.now, before)

    def lose(self: Disk) -> None:
        since, before = cached.pop(id(self), (0.0, None))
        if before is not None and self.identity is not None and self.now - since < WRITE_BACK_SECS:
            self.identity = replace(before, log_created=self.identity.log_created)
        lose_power(self)

    _put(stack, SimDirectory, "update_identity", update_identity)
    _put(stack, Disk, "lose_power", lose)


# --- what is forgotten (A8, A9) -------------------------------------------------------------------


@build("vote with an empty disk", "A8", amnesia=1, nodes=3)
def _vote_with_empty_disk(stack: ExitStack) -> None:
    _put(stack, Membership, "listed", property(lambda self: True))


@build("vote forgotten at restart", "A2", rivals=1, nodes=3)
def _vote_forgotten(stack: ExitStack) -> None:
    _opened(stack, lambda log: _adopt(log, vote=None))


@build("a wiped node whose acks count", "A8", usurp=1, nodes=3)
def _wiped_acks_count(stack: ExitStack) -> None:
    _put(stack, Leading, "_counts", lambda self, peer_id: True)


@build("a non-voting flag that a restart forgets", "A8", amnesia=1, nodes=3)
def _flag_forgotten(stack: ExitStack) -> None:
    def forget(log: Any) -> None:
        flags = {name: one for name, one in log.flags.items() if name != NON_VOTING_FLAG}
        if log.batch_number > 1:
            _adopt(log, flags=flags)

    _opened(stack, forget)


def _opened(stack: ExitStack, change: Callable[[Any], None]) -> None:
    """Changes each log that is opened."""
    open_log = SimDirectory._open_log

    def opened(self: SimDirectory) -> Any:
        log = open_log(self)
        change(log)
        return log

    _put(stack, SimDirectory, "_open_log", opened)


def _adopt(log: Any, **changes: Any) -> None:
    log._adopt(replace(log._head, **changes))


# --- messages (A4) --------------------------------------------------------------------------------


@build("reply without term in five nodes", "A4", nodes=5, late_answers=1)
def _reply_without_term(stack: ExitStack) -> None:
    receive = Consensus.receive

    def received(self: Consensus, peer_id: str, data: bytes) -> None:
        message = decode(data)
        if isinstance(message, Ack | HeartbeatReply | Reject | VoteReply):
            data = encode(message._replace(term=self.raft.term))
        receive(self, peer_id, data)

    _put(stack, Consensus, "receive", received)
    # The next heartbeat would show that a log is shorter than what was taken for acknowledged.
    _put(stack, Leading, "_note_end", lambda self, peer_id, peer, last: None)


# --- disk (L1-L5) ---------------------------------------------------------------------------------


@build("checkpoint before the state is synced", "L1", kill_all=4, power_all=4, kill=2, power=2)
def _checkpoint_too_early(stack: ExitStack) -> None:
    begin = StateWriter.begin

    def begun(self: StateWriter) -> None:
        self._journal.drop_below(self._applier.index - 1)
        begin(self)

    _put(stack, StateWriter, "begin", begun)


@build("non-strict LevelDB open", "L3", lone_copies_damaged=1, nodes=3)
def _lenient_open(stack: ExitStack) -> None:
    _put(stack, directory, "examine", lambda files, path: True)
    _put(stack, directory, "check_log", read_head)
    _put(stack, directory, "check_witness", lambda *_: None)
    _put(stack, directory, "check_batches", lambda *_: None)


@build("the stock journal", "L1", crashes=True)
def _stock_journal(stack: ExitStack) -> None:
    _unsynced(stack, "log")
    _put(stack, directory, "check_witness", lambda *_: None)


@build("a state written without sync", "L1", power_all=2, burden=4)
def _unsynced_state(stack: ExitStack) -> None:
    _unsynced(stack, "state")


def _unsynced(stack: ExitStack, name: str) -> None:
    write = InterruptibleHandle.write

    def written(self: Any, operations: list[Any], size: int, sync: bool) -> None:
        write(self, operations, size, sync and self._directory.name != name)

    _put(stack, InterruptibleHandle, "write", written)


def _failing_then_down(seed: int) -> list[Fault]:
    """All disks refuse some writes for a while; later all nodes are killed."""
    faults = []
    for start in (6.0, 20.0, 34.0, 48.0):
        number = 3 * seed + 1
        faults += [Fault(start, "failing disk", who, 3.0, number) for who in range(3)]
        faults.append(Fault(start + 6.0, "kill all", 0, 0.3, 0))
    return faults


@build("writing on after a failed write", "L2", nodes=3, plan=_failing_then_down)
def _writing_on(stack: ExitStack) -> None:
    def write(self: Database, puts: Any, deletes: Any = ()) -> None:
        operations = [(key, None) for key in deletes] + list(puts)
        size = sum(len(key) + len(value or b"") for key, value in operations)
        failure = ""
        for _ in range(40):
            try:
                self._handle.write(operations, size, True)
                return
            except OSError as error:
                failure = str(error)
        raise StorageFailed(failure)

    _put(stack, Database, "write", write)


@build("a witness that holds an index", "L4", rivals_damaged=1, nodes=3)
def _witness_of_index(stack: ExitStack) -> None:
    class IndexWitness(SimWitness):
        log: Any = None

        def write(self, number: int) -> None:
            last = 0 if self.log is None else read_head(self.log._db)[1].last
            super().write(last)

    def check(view: Any, number: int, head: Any, attestation: Any) -> None:
        if attestation is not None and attestation.number > max(head.last, 1):
            raise DataDamaged(view.directory, "entries are gone")

    def tie(log: Any) -> None:
        log._witness.log = log

    _put(stack, directory, "SimWitness", IndexWitness)
    _put(stack, directory, "check_witness", check)
    _opened(stack, tie)


# --- states (A14) ---------------------------------------------------------------------------------


@build(
    "an entry that one node applies otherwise", "A14", nodes=3, shows="StateDiverged", clock_rate=1
)
def _applied_otherwise(stack: ExitStack) -> None:
    """The nodes find it by themselves: the simulation does not compare states here."""
    apply = Applier.apply

    def applied(self: Applier, entry: bytes) -> Any:
        result = apply(self, entry)
        loop: Any = asyncio.get_running_loop()
        if loop.name == "n3" and self.index > 100:
            self._overlay.put(b"zz", entry[:8])
        return result

    _put(stack, Applier, "apply", applied)
    _put(stack, Oracle, "check_map", lambda *_: None)
