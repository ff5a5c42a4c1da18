"""The data folder of one node: lock, identity, and the places of log, state and witness.

    lock  node.json  log/  state/  witness  set-aside/

Opening it decides whether the folder is ours; `open_stores` decides whether log and state are whole
and fit together. Whoever builds the node calls both, once per start.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
from cluster.storage.lock import FolderLock
from cluster.storage.log_store import LogStore
from cluster.storage.state_store import CheckedState, StateStore
from cluster.storage.swap import finish_swap, ready_name


class DataDirectory:
    """An open, locked data folder; a context manager that unlocks it.

    Attributes: `path`, `identity`, and the paths `log`, `state`, `witness`.
    """

    def __init__(self, path: Path, identity: Identity, lock: FolderLock) -> None:
        self.path = path
        self.identity = identity
        self._lock = lock
        self.log = path / "log"
        self.state = path / "state"
        self.witness = path / "witness"

    @classmethod
    def open(cls, path: Path, node_id: str) -> DataDirectory:
        """Lock `path` for this process and check that it belongs to `node_id`.

        A missing or empty folder is made the node's own. Raises FolderInUse, OtherNode, NoIdentity,
        NewerFormat, DataDamaged (identity file), StorageFailed; nothing but the lock file is then
        changed.
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
        """Open log and state, creating both in a new folder, and check that they fit.

        Raises DataDamaged if one is missing or damaged, or if the state ends before the log
        starts, so that entries between the two are gone; NewerFormat, StorageFailed. Both are
        checked before either is opened, because opening rewrites: what is refused is as it was.
        """
        missing = is_missing_or_empty(self.state)
        state = None if missing else StateStore.check(self.state)
        log = self.open_log(lambda first_index: self._check_fit(state, first_index))
        try:
            if state is None:
                return log, StateStore.open(self.state)
            return log, StateStore.open_checked(state)
        except BaseException:
            log.close()
            raise

    def open_log(self, accept: Callable[[int], None] = lambda first_index: None) -> LogStore:
        """Open the log; create it only if this folder never had one. Raises as `open_stores`, and
        what `accept` raises when it hears the log's first index."""
        fresh = not self.identity.log_created
        if fresh and is_missing_or_empty(self.log) and not is_missing_or_empty(self.state):
            raise DataDamaged(self.log, "the log is gone, though there is a state")
        log = LogStore.open(self.log, self.witness, create=fresh, accept=accept)
        if fresh:
            self.update_identity(self.identity.with_log())
        return log

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
        for path in (self.log, self.witness):
            if path.exists():
                self.set_aside(path.name)
        LogStore.create(self.log, self.witness, flags)
        return self.open_log()

    def update_identity(self, identity: Identity) -> None:
        """Replace the identity file, durably. Raises StorageFailed."""
        try:
            write_identity(self.path / IDENTITY_NAME, identity)
        except OSError as error:
            raise StorageFailed(f"writing the identity of {self.path} failed: {error}") from error
        self.identity = identity

    def set_aside(self, name: str) -> Path:
        """Move `name` (such as "log") to set-aside/<utc time>-<name>. Raises StorageFailed."""
        try:
            return set_aside(self.path / name)
        except OSError as error:
            raise StorageFailed(f"setting {self.path / name} aside failed: {error}") from error

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
    place = path / IDENTITY_NAME
    identity = read_identity(place)
    if identity is None:
        for name in ("log", "state", SET_ASIDE, "witness"):
            held = path / name
            for found in (held, ready_name(held)):
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
