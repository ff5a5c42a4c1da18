"""What the disk can answer other than success.

    StorageError
    |-- StorageFailed      a write or an opening failed (full disk, input/output error)
    |-- DataDamaged        what is stored is not what was written, or part of it is gone
    `-- FolderRefused      the folder is readable but not ours to use
        |-- FolderInUse    another process holds it
        |-- OtherNode      it belongs to another node
        |-- NoIdentity     it holds data but no identity file
        |-- Unfinished     it was being made or changed by a command that did not come to its end
        |-- NotEmpty       it was to be made, and something is there
        |-- NewerFormat    a later version of this software wrote it
        `-- OlderFormat    an earlier one wrote it, in a format that is not read any more

None of them is ever answered by deleting something.
"""

from __future__ import annotations

from pathlib import Path


class StorageError(Exception):
    """Root of everything that this package raises on purpose."""


class StorageFailed(StorageError):
    """The disk refused a write, or a handle was used after such a refusal.

    Whatever waited for that write is not durable and must not be released.
    """


class DataDamaged(StorageError):
    """Stored data is missing or altered.

    Attributes: `path`, the damaged file (a folder where no single file is to blame); `offset`, the
    first bad byte in it, or None where it could not be found.
    """

    def __init__(self, path: Path, problem: str, *, offset: int | None = None) -> None:
        place = str(path) if offset is None else f"{path}, byte {offset}"
        super().__init__(f"damaged data in {place}: {problem}")
        self.path = path
        self.offset = offset
        self.problem = problem


class FolderRefused(StorageError):
    """The data folder cannot be used as it is; nothing in it was changed."""


class FolderInUse(FolderRefused):
    """Another process has the folder open. `pid` is that process, None where it is unknown."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{path} is in use by {holder}; two nodes cannot share one data folder")
        self.pid = pid


class OtherNode(FolderRefused):
    """The folder was founded by a node with another id."""


class NoIdentity(FolderRefused):
    """The folder holds data, but not the identity file that every data folder starts with."""


class Unfinished(FolderRefused):
    """The folder was being made, or changed, by a command that did not come to its end."""


class NotEmpty(FolderRefused):
    """A folder was to be made where something is already."""


class NewerFormat(FolderRefused):
    """The folder was written by a later version of this software."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"{path} has storage format {found}, and this version reads formats up to {known}; "
            "start the newer version, nothing was changed"
        )
        self.found = found
        self.known = known


class OlderFormat(FolderRefused):
    """The folder was written by an earlier version, in a format that this one does not read."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"{path} has storage format {found}, and this version reads format {known} only; start "
            "the version that wrote it, or begin with an empty folder; nothing was changed"
        )
        self.found = found
        self.known = known
