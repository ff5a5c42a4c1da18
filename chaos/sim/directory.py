"""The data folder of a simulated node: the face of `DataDirectory`, over a simulated disk.

Checks, plans, numbering, flags and witness are the real ones; what is simulated is files. Each
durable step of an opening may be its last (`Disk.step`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaos.sim.disk import GONE, TORN, Disk, Fence, Interrupted, SimWitness, WitnessFile
from chaos.sim.leveldb import Files, Handle, SimDatabase, packed
from chaos.sim.sorted_map import SortedMap
from cluster.storage.batches import batch_key, check_batches
from cluster.storage.errors import DataDamaged, StorageFailed
from cluster.storage.flags import NON_VOTING_FLAG, UNCERTAIN_FLAG, new_flag_id
from cluster.storage.identity import Identity
from cluster.storage.log_check import check_log, check_witness, read_head
from cluster.storage.log_records import Head, encode_head, encode_tail
from cluster.storage.log_store import LogStore, Opened, _mark_uncertain
from cluster.storage.member_policy import Found, LogFound, StateFound, Step, plan_member
from cluster.storage.member_stores import MemberStores
from cluster.storage.state_records import DATA, encode_state_head
from cluster.storage.state_store import StateStore, read_state_head
from cluster.storage.witness import Attestation
from taskq.pairs import unpack_pairs

LOG, STATE = "log", "state"
# A snapshot that is being received, and one that will be the state from the next opening on.
INCOMING, RECEIVED = "state.incoming", "state.received"


class SimDirectory:
    """See the module. `fence`: between the process that opened it and the disk."""

    def __init__(self, disk: Disk, node_id: str, fence: Fence, chance: random.Random) -> None:
        self._disk = disk
        self._fence = fence
        self._chance = chance
        self.path = Path(f"/{node_id}")
        self.log, self.state = self.path / LOG, self.path / STATE
        self.witness = self.path / "witness"
        if disk.identity is None:
            disk.identity = Identity(node_id, self._hex(), self._hex())
            disk.step()
        assert disk.identity.node_id == node_id

    def _hex(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"

    def _id(self) -> int:
        return self._chance.randrange(1, 1 << 63)

    # --- the folder -------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        assert self._disk.identity is not None
        return self._disk.identity

    def update_identity(self, identity: Identity) -> None:
        """Durable when it returns. Raises StorageFailed."""
        self._fence.check()
        try:
            self._disk.take(200)
        except OSError as error:
            raise StorageFailed(f"writing the identity failed: {error}") from error
        self._disk.identity = identity
        self._disk.step()

    @property
    def members(self) -> tuple[int, int]:
        """As `DataDirectory.members`."""
        return self.identity.members

    def note_members(self, members: tuple[int, int]) -> None:
        """As `DataDirectory.note_members`."""
        self.update_identity(replace(self.identity, members=members))

    def skips(self) -> dict[int, int]:
        """Nobody says so here."""
        return {}

    def free_bytes(self) -> int:
        return self._disk.free_bytes()

    def set_aside(self, name: str) -> Path:
        """Moves a database or the witness away."""
        self._fence.check()
        disk = self._disk
        if name == "witness":
            disk.aside.append((name, disk.witness))
            disk.witness = None
        else:
            disk.aside.append((name, disk.folders.pop(name)))
        disk.step()
        return self.path / "set-aside" / name

    def close(self) -> None:
        """Nothing to unlock."""

    # --- databases --------------------------------------------------------------------------------

    def _before_write(self) -> Callable[[int], None]:
        fence, disk = self._fence, self._disk

        def before_write(size: int) -> None:
            fence.check()
            disk.take(size)

        return before_write

    def _open(self, name: str) -> SimDatabase:
        files = self._disk.folders[name]
        handle = InterruptibleHandle(
            files, self.path / name, self._before_write(), self._disk.spoils
        )
        handle.fence = self._fence
        return SimDatabase(handle, self.path / name, files)

    def _view(self, name: str) -> SimDatabase:
        """The database as an opening would find it, for checks; nothing is changed."""
        return view_of(self._disk.folders[name], self.path / name)

    def _create(self, name: str, first: bytes) -> None:
        files = Files()
        files.write_aheads[0].records.append(packed({batch_key(1): first}))
        self._disk.folders[name] = files
        self._disk.step()

    # --- log --------------------------------------------------------------------------------------

    def _check_log(self) -> Head:
        """The head of a log that is whole. Raises DataDamaged."""
        disk = self._disk
        if LOG not in disk.folders:
            raise DataDamaged(self.log, "the log is gone")
        examine(disk.folders[LOG], self.log)
        view = self._view(LOG)
        number, head = check_log(view)
        check_witness(view, number, head, self._attestation())
        return head

    def _attestation(self) -> Attestation | None:
        witness = self._disk.witness
        return None if witness is None else witness.read()

    def _never_had_log(self) -> bool:
        if self.identity.log_created or LOG in self._disk.folders:
            return False
        attestation = self._attestation()
        return attestation.number <= 1 if attestation else self._disk.witness is None

    def _create_log(self, flags: dict[str, int]) -> None:
        head = Head(self._id(), flags=dict(flags))
        self._disk.witness = WitnessFile(head.log_id, 1)
        self._disk.step()
        self._create(LOG, encode_head(head, encode_tail(head.vote, head.flags)))

    def _open_log(self) -> LogStore:
        """Opens a log that was checked."""
        disk = self._disk
        torn = any(not record.readable for record in disk.folders[LOG].records())
        database = self._open(LOG)
        number, head = read_head(database)
        opened = Opened.TORN_TAIL if torn else Opened.INTACT
        attestation = self._attestation()
        if attestation is None:
            number, head = _mark_uncertain(database, number, head)
            disk.step()
            if disk.witness is not None:
                self.set_aside("witness")
            disk.witness = WitnessFile(head.log_id, number)
            disk.step()
        elif disk.witness is not None and disk.witness.lacks_slot:
            disk.witness = WitnessFile(head.log_id, attestation.number)
            disk.step()
        if UNCERTAIN_FLAG in head.flags:
            opened = Opened.UNCERTAIN
        assert disk.witness is not None
        witness = SimWitness(disk.witness, head.log_id, disk, self._fence)
        log = LogStore(database, witness, number, head, opened, self)
        if not self.identity.log_created:
            self.update_identity(self.identity.with_log())
        return log

    # --- state ------------------------------------------------------------------------------------

    def _check_state(self) -> tuple[int, int]:
        """(number of its last batch, index) of a state that is whole. Raises DataDamaged."""
        examine(self._disk.folders[STATE], self.state)
        view = self._view(STATE)
        number, floor, index, *_ = read_state_head(view)
        check_batches(view, floor, number)
        return number, index

    def _create_state(self) -> None:
        self._create(STATE, encode_state_head(1, 0, (0, 0), 0))

    def _open_state(self) -> StateStore:
        torn = any(not record.readable for record in self._disk.folders[STATE].records())
        return StateStore(self._open(STATE), torn=torn)

    # --- both -------------------------------------------------------------------------------------

    def open_member_stores(self, *, listed: bool) -> MemberStores:
        """As `DataDirectory.open_member_stores`, by the same table."""
        folders = self._disk.folders
        if RECEIVED in folders:
            folders[STATE] = folders.pop(RECEIVED)
            self._disk.noticed("snapshot installed")
            self._disk.step()
        folders.pop(INCOMING, None)
        found = self._found()
        plan = plan_member(found, listed=listed)
        if plan.log is not Step.KEEP:
            if plan.log is Step.RENEW:
                self._set_log_aside()
            self._create_log(
                {NON_VOTING_FLAG: new_flag_id(self._chance.randrange)} if plan.non_voting else {}
            )
        if plan.state is not Step.KEEP:
            if plan.state is Step.RENEW:
                self.set_aside(STATE)
            self._create_state()
        loss = ""
        if plan.non_voting or plan.state is Step.RENEW:
            loss = f"found {found}, did {plan}"
            self._disk.noticed("loss found", loss)
        return MemberStores(self._open_log(), self._open_state(), loss)

    def _found(self) -> Found:
        state, number, index = StateFound.MISSING, 0, 0
        if STATE in self._disk.folders:
            try:
                number, index = self._check_state()
                state = StateFound.WHOLE
            except DataDamaged:
                state = StateFound.DAMAGED
        if self._never_had_log():
            return Found(LogFound.NEW, state, index=index, as_received=number == 1)
        try:
            head = self._check_log()
        except DataDamaged:
            return Found(LogFound.LOST, state, index=index, as_received=number == 1)
        flagged = NON_VOTING_FLAG in head.flags
        return Found(LogFound.WHOLE, state, head.first, head.last, flagged, index, number == 1)

    def _set_log_aside(self) -> None:
        if not self.identity.log_created:
            self.update_identity(self.identity.with_log())
        if LOG in self._disk.folders:
            self.set_aside(LOG)
        if self._disk.witness is not None:
            self.set_aside("witness")

    def mark_state_lost(self) -> Path | None:
        """Damage was met while running: the state is set aside, after it was closed."""
        return self._mark_lost(STATE)

    def mark_log_lost(self) -> Path | None:
        """The same for the log."""
        return self._mark_lost(LOG)

    def _mark_lost(self, name: str) -> Path | None:
        if not self.identity.log_created:
            self.update_identity(self.identity.with_log())
        return self.set_aside(name) if name in self._disk.folders else None

    def begin_state(self, index: int, terms: tuple[int, int], digest: int) -> SimIncoming:
        """A state that arrives in chunks; blocking, in an executor."""
        self._fence.check()
        self._disk.folders[INCOMING] = Files()
        return SimIncoming(self._disk, self._fence, index, terms, digest)


def examine(files: Files, directory: Path) -> bool:
    """Whether the end of the write-ahead files is torn. Raises DataDamaged."""
    return files.is_torn(directory)


class InterruptibleHandle(Handle):
    """A handle whose process may die in the middle of a write."""

    fence: Fence

    def write(self, operations: list[Any], size: int, sync: bool) -> None:
        self.fence.check()
        how = self.fence.interrupting
        if not how:
            super().write(operations, size, sync)
            return
        if how != GONE:
            super().write(operations, size, False)
            if how == TORN:
                self._files.write_aheads[-1].records[-1].readable = False
        raise Interrupted


def view_of(files: Files, directory: Path) -> SimDatabase:
    """Reads what an opening would read."""
    return SimDatabase(Handle.frozen(files, directory, files.content()), directory, files)


def state_view(disk: Disk) -> SimDatabase:
    """The state on a disk, whoever has it open."""
    return view_of(disk.folders[STATE], Path(f"/{disk.name}") / STATE)


class SimIncoming:
    """As `IncomingState`."""

    def __init__(
        self, disk: Disk, fence: Fence, index: int, terms: tuple[int, int], digest: int
    ) -> None:
        self.index, self.terms, self.digest = index, terms, digest
        self.size = 0
        self.open, self.finished = True, False
        self._disk = disk
        self._fence = fence
        self._content = SortedMap()
        self._last_key: bytes | None = None

    def _take(self, size: int) -> None:
        self._fence.check()
        try:
            self._disk.take(size)
        except OSError as error:
            raise StorageFailed(f"writing a received state failed: {error}") from error

    def add(self, chunk: bytes) -> None:
        """One batch. Raises ValueError for a malformed chunk, StorageFailed."""
        assert self.open
        pairs = unpack_pairs(chunk, self._last_key)
        self._take(len(chunk))
        self._content.apply((DATA + key, value) for key, value in pairs)
        self._last_key = pairs[-1][0]
        self.size += len(chunk)

    def finish(self) -> None:
        """Ready for the next opening."""
        assert self.open
        self._take(0)
        head = encode_state_head(1, self.index, self.terms, self.digest)
        self._content.apply([(batch_key(1), head)])
        folders = self._disk.folders
        folders[RECEIVED] = Files(self._content.values)
        folders.pop(INCOMING, None)
        self.open, self.finished = False, True
        self._disk.step()

    def discard(self) -> None:
        """It was not wanted."""
        self._fence.check()
        self.open = False
        folders = self._disk.folders
        folders.pop(INCOMING, None)
        if self.finished:
            folders.pop(RECEIVED, None)
        self.finished = False
