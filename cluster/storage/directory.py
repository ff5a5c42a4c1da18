"""The data folder of one node: lock, identity, and the places of log, state and witness.

    lock  node.json  log/  state/  witness  set-aside/

Opening it decides whether the folder is ours; `open_stores` and, in a group, `open_member_stores`
decide whether log and state are whole and fit together. Whoever builds the node calls `open` once
per start, and one of the others whenever it builds the rest anew.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from cluster.storage.errors import DataDamaged, NoIdentity, OtherNode, StorageFailed
from cluster.storage.files import SET_ASIDE, is_missing_or_empty, set_aside, sync_directory
from cluster.storage.identity import (
    IDENTITY_NAME,
    Identity,
    new_identity,
    read_identity,
    write_identity,
)
from cluster.storage.incoming_state import IncomingState
from cluster.storage.lock import FolderLock
from cluster.storage.log_store import CheckedLog, LogStore
from cluster.storage.member_stores import MemberStores, open_members
from cluster.storage.recovery import Recovery
from cluster.storage.skips import read_skips
from cluster.storage.state_store import CheckedState, StateStore
from cluster.storage.swap import finish_swap, put_received, ready_name, received_name, replaced_name
from cluster.storage.unfinished import refuse_unfinished


class DataDirectory:
    """An open, locked data folder; a context manager that unlocks it.

    Attributes: `path`, `identity`, and the paths `log`, `state`, `witness`; `recovery`, how far its
    opening has come.
    """

    def __init__(self, path: Path, identity: Identity, lock: FolderLock) -> None:
        self.path = path
        self.identity = identity
        self._lock = lock
        self.log = path / "log"
        self.state = path / "state"
        self.witness = path / "witness"
        self.recovery = Recovery()
        self._incoming: IncomingState | None = None

    @classmethod
    def open(cls, path: Path, node_id: str) -> DataDirectory:
        """Lock `path` for this process and check that it belongs to `node_id`.

        A missing or empty folder is made the node's own. Raises FolderInUse, OtherNode, NoIdentity,
        Unfinished, NewerFormat, DataDamaged (identity file), StorageFailed; nothing but the lock
        file is then changed.
        """
        if path.exists() and not path.is_dir():
            raise StorageFailed(f"the data folder {path} is a file, not a folder")
        try:
            if not path.is_dir():
                path.mkdir(parents=True)
                sync_directory(path.parent)
            lock = FolderLock(path)
        except OSError as error:
            raise StorageFailed(f"the data folder {path} cannot be used: {error}") from error
        try:
            identity = _claim(path, node_id)
            directory = cls(path, identity, lock)
            finish_swap(directory.log)
            finish_swap(directory.state)
            return directory
        except OSError as error:
            lock.release()
            raise StorageFailed(f"the data folder {path} cannot be used: {error}") from error
        except BaseException:
            lock.release()
            raise

    def open_stores(self) -> tuple[LogStore, StateStore]:
        """Open log and state, creating both in a new folder, and check that they fit: for a node
        without peers, which refuses damage.

        Raises DataDamaged if one is missing or damaged, or if the state ends before the log
        starts, so that entries between the two are gone; NewerFormat, StorageFailed. Both are
        checked before either is opened, because opening rewrites: what is refused is as it was.
        """
        self._put_received()
        missing = is_missing_or_empty(self.state)
        state = None if missing else StateStore.check(self.state)
        checked = self._check_log()
        self._check_fit(state, checked.head.first)
        log = self.open_log(checked)
        try:
            if state is None:
                return log, StateStore.open(self.state)
            return log, StateStore.open_checked(state)
        except BaseException:
            log.close()
            raise

    def open_member_stores(self, *, listed: bool) -> MemberStores:
        """Open log and state of a member of a group; both must be closed. Damage is set aside and
        told, never refused: `member_policy` has the table, rules A8 and L3-L5 the reasons.

        `listed`: the founding record names this folder's disk id. A finished `IncomingState` is put
        in place first. Raises NewerFormat and StorageFailed, for which nothing is set aside.
        """
        self._put_received()
        return open_members(self, listed=listed)

    def open_log(self, checked: CheckedLog | None = None) -> LogStore:
        """Open the log, `checked` or not; create it only if this folder never had one. Raises as
        `open_stores`."""
        log = LogStore.open_checked(checked or self._check_log(), self)
        if not self.identity.log_created:
            try:
                self.update_identity(self.identity.with_log())
            except BaseException:
                log.close()
                raise
        return log

    def _check_log(self) -> CheckedLog:
        if not self.identity.log_created and is_missing_or_empty(self.log):
            if not is_missing_or_empty(self.state):
                raise DataDamaged(self.log, "the log is gone, though there is a state")
            LogStore.create(self.log, self.witness)
        return LogStore.check(self.log, self.witness, self.recovery)

    def _check_fit(self, state: CheckedState | None, first_index: int) -> None:
        if state is None:
            if first_index > 1:
                problem = f"the state is gone, and the log starts at {first_index}"
                raise DataDamaged(self.state, problem)
        elif state.index + 1 < first_index:
            raise DataDamaged(
                self.state,
                f"the state ends at entry {state.index}, but the log starts at {first_index}: "
                "the newest state batches are gone",
            )

    def renew_log(self, flags: dict[str, int]) -> LogStore:
        """Set log and witness aside and start an empty log that carries `flags` (rule A8).

        Raises StorageFailed, DataDamaged. After a crash in between, the log is still missing.
        """
        self.set_log_aside()
        LogStore.create(self.log, self.witness, flags)
        return self.open_log()

    def set_log_aside(self) -> list[Path]:
        """Set log and witness aside; where they are now. Raises StorageFailed.

        From here on the folder counts as one that had a log, whatever crashes.
        """
        self._remember_log()
        return [self.set_aside(path.name) for path in (self.log, self.witness) if path.exists()]

    def _remember_log(self) -> None:
        if not self.identity.log_created:
            self.update_identity(self.identity.with_log())

    def mark_log_lost(self) -> Path | None:
        """The log, closed, was found damaged while it ran: set it aside, so that the next
        `open_member_stores` renews it. Returns its place, None if it is gone. Raises StorageFailed.
        """
        self._remember_log()
        return self.set_aside(self.log.name) if self.log.exists() else None

    def mark_state_lost(self) -> Path | None:
        """As `mark_log_lost`, for the state."""
        self._remember_log()
        return self.set_aside(self.state.name) if self.state.exists() else None

    def begin_state(self, index: int, terms: tuple[int, int], digest: int) -> IncomingState:
        """Begin to receive the state at `index`, whose last two entries have `terms`, with this
        digest; one that is being received and not finished is discarded. Blocks. Raises ValueError,
        StorageFailed."""
        if self._incoming is not None and self._incoming.open:
            self._incoming.discard()
        self._incoming = IncomingState(self.state, index, terms, digest)
        return self._incoming

    def _put_received(self) -> None:
        try:
            put_received(self.state)
        except OSError as error:
            raise StorageFailed(f"putting {self.state} in place failed: {error}") from error

    def update_identity(self, identity: Identity) -> None:
        """Replace the identity file, durably. Raises StorageFailed."""
        try:
            write_identity(self.path / IDENTITY_NAME, identity)
        except OSError as error:
            raise StorageFailed(f"writing the identity of {self.path} failed: {error}") from error
        self.identity = identity

    @property
    def members(self) -> tuple[int, int]:
        """Index and term of the newest set of members that was to be written to the log."""
        return self.identity.members

    def note_members(self, members: tuple[int, int]) -> None:
        """Remember that one, durably, before the log has it: a log that lost its end with it can
        tell (L4). By the log's executor; nobody else changes the identity of an open node. Raises
        StorageFailed."""
        self.update_identity(replace(self.identity, members=members))

    def set_aside(self, name: str) -> Path:
        """Move `name` (such as "log") to set-aside/<utc time>-<name>. Raises StorageFailed."""
        try:
            return set_aside(self.path / name)
        except OSError as error:
            raise StorageFailed(f"setting {self.path / name} aside failed: {error}") from error

    def skips(self) -> dict[int, int]:
        """Index -> checksum of entries that an operator wants left out. Raises DataDamaged,
        NewerFormat."""
        return read_skips(self.path)

    def free_bytes(self) -> int:
        """Bytes that this process may still write on the folder's file system."""
        return shutil.disk_usage(self.path).free

    def close(self) -> None:
        """Unlock the folder. A second call does nothing."""
        self._lock.release()

    def __enter__(self) -> DataDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _claim(path: Path, node_id: str) -> Identity:
    """The folder's identity; a new one in an empty folder. Raises as `DataDirectory.open`."""
    refuse_unfinished(path)
    place = path / IDENTITY_NAME
    identity = read_identity(place)
    if identity is None:
        for name in ("log", "state", SET_ASIDE, "witness"):
            held = path / name
            for found in (held, ready_name(held), received_name(held), replaced_name(held)):
                if found.is_file() or not (found.is_file() or is_missing_or_empty(found)):
                    raise NoIdentity(
                        f"{path} holds {found.name} but no {IDENTITY_NAME}; restore that file, or "
                        "use another folder: it is not taken for an empty one"
                    )
        identity = new_identity(node_id)
        write_identity(place, identity)
    if identity.node_id != node_id:
        raise OtherNode(f"{path} belongs to node {identity.node_id}, and this node is {node_id}")
    return identity
