"""Makes a data folder from a state and a log's beginning, as one act: whole, or refused.

    begin --> add, add, ... --> finish          killed: `unfinished.py`
                   `--> close --> discard

The caller knows what the state and the entries mean, and whose folder it is.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from cluster.storage.errors import NotEmpty, StorageFailed
from cluster.storage.files import sync_directory
from cluster.storage.identity import IDENTITY_NAME, Identity, write_identity
from cluster.storage.incoming_state import IncomingState
from cluster.storage.lock import LOCK_NAME, FolderLock
from cluster.storage.log_records import Entry, LogBatch
from cluster.storage.log_store import LogStore
from cluster.storage.swap import put_received
from cluster.storage.unfinished import (
    MARK_NAME,
    marked,
    put_mark,
    refuse_unfinished,
    remove_mark,
)

# What a new file system has in its root.
_OF_THE_SYSTEM = {"lost+found"}
# How the names begin that are made here, in the order in which they are removed: the mark last, so
# that the folder is refused until then.
_MADE = ("state", "log", "witness", IDENTITY_NAME, MARK_NAME, LOCK_NAME)


class NewFolder:
    """One that is being made; see the module. Every method raises StorageFailed."""

    def __init__(self, path: Path, act: str) -> None:
        """Begins: `path` is missing or empty, else NotEmpty; Unfinished for one that was begun
        before, FolderInUse while it is. `act`, such as "the restore"."""
        self._path = path
        _require_empty(path)
        there = path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(path)
            _require_empty(path)  # whoever came in between held the lock
            try:
                put_mark(path, act, "remove the folder, and begin again")
            except OSError:
                self._leave(keep=there)
                raise
            sync_directory(path.parent)
        except OSError as error:
            raise StorageFailed(f"making {path} failed: {error}") from error
        self._state: IncomingState | None = None

    def _leave(self, *, keep: bool) -> None:
        """There is no mark: nothing else was made yet."""
        with contextlib.suppress(OSError):
            for one in (*self._path.glob(f"{MARK_NAME}*"), self._path / LOCK_NAME):
                one.unlink()
            if not keep:
                self._path.rmdir()
        self._lock.release()

    def begin_state(self, index: int, terms: tuple[int, int], digest: int) -> IncomingState:
        """The state, which takes chunks."""
        self._state = IncomingState(self._path / "state", index, terms, digest)
        return self._state

    def finish(self, identity: Identity, entries: Sequence[Entry], term: int) -> None:
        """Completes it: the log begins with `entries`, the node is in `term` and has not voted."""
        assert self._state is not None, "a folder without a state"
        self._state.finish()
        log, witness = self._path / "log", self._path / "witness"
        try:
            put_received(self._path / "state")
            LogStore.create(log, witness)
            store = LogStore.open(log, witness, create=False)
            try:
                store.write(LogBatch(rebase=list(entries), term=term))
            finally:
                store.close()
            write_identity(self._path / IDENTITY_NAME, identity.with_log())
            remove_mark(self._path)
        except OSError as error:
            raise StorageFailed(f"making {self._path} failed: {error}") from error

    def close(self) -> None:
        """Lets go of the folder. What is not finished stays, and is refused."""
        if self._state is not None and self._state.open:
            self._state.discard()
        self._lock.release()


def discard_folder(path: Path, act: str, *, keep: bool) -> None:
    """Removes what a `NewFolder` has begun at `path` and not finished, with `keep` but for the
    folder itself. Does nothing to a folder that this act has not begun. Raises FolderInUse,
    OSError."""
    if marked(path) != act:
        return
    lock = FolderLock(path)
    try:
        for start in _MADE:
            for one in path.glob(f"{start}*"):
                shutil.rmtree(one) if one.is_dir() else one.unlink()
    finally:
        lock.release()
    if not keep:
        path.rmdir()


def _require_empty(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise NotEmpty(f"{path} is a file, not a folder")
    if marked(path):
        FolderLock(path).release()  # raises where it is being made just now
        refuse_unfinished(path)
    found = sorted(one.name for one in path.iterdir()) if path.is_dir() else []
    there = [name for name in found if name not in _OF_THE_SYSTEM | {LOCK_NAME}]
    if there:
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        raise NotEmpty(
            f"{path} is not empty: it holds {', '.join(there[:3])}{more}. Nothing is overwritten: "
            "name a folder that is not there yet"
        )
