"""Writes a backup file: under its name when it is whole and on the disk, before that under another.

Who is interrupted leaves no file under the name, and removes the other one where he still can.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from taskq.backup.file_format import (
    CHUNK,
    END,
    HEAD,
    START,
    Head,
    encode_end,
    encode_head,
    pack_record,
)

# Written while it arrives, so that the sync at the end has little left to do. Bytes.
SYNC_SIZE = 32 * 1024 * 1024
# Whoever may read it reads all payloads.
MODE = 0o600
_TAKEN = (errno.EEXIST, "there is a file of this name")


class BackupWriter:
    """A context manager; `path` None: standard output. `size`: bytes of the file so far.

    Raises FileExistsError where `path` is there and `overwrite` is false, OSError. Leaving it
    without `finish` removes what was written.
    """

    def __init__(self, path: Path | None, *, overwrite: bool = False) -> None:
        self._path = path
        self._sha = hashlib.sha256()
        self._count = self._body_size = self._synced = 0
        self.size = 0
        self._partial: Path | None = None
        self._file: BinaryIO
        if path is None:
            self._file = sys.stdout.buffer
            return
        if not overwrite and path.exists():
            raise FileExistsError(*_TAKEN, str(path))
        self._overwrite = overwrite
        self._partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        self._file = open(_created(self._partial), "wb")  # noqa: SIM115 - closed by `__exit__`

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._partial is not None:
            # What it could not write is either synced by now or removed.
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self._partial.unlink()

    def begin(self, head: Head) -> None:
        """Writes the head."""
        self._write(START)
        self._record(HEAD, encode_head(head))

    def add(self, chunk: bytes) -> None:
        """Writes a chunk."""
        self._count += 1
        self._body_size += len(chunk)
        self._record(CHUNK, chunk)
        if self._partial is not None and self.size - self._synced >= SYNC_SIZE:
            self._synced = self.size
            self._file.flush()
            os.fdatasync(self._file.fileno())

    def finish(self) -> str:
        """Writes the end, brings all to the disk and gives the file its name; its SHA-256 in hex,
        of the whole file. Raises FileExistsError where somebody else took the name meanwhile."""
        self._record(END, encode_end(self._count, self._body_size, self._sha.digest()))
        self._file.flush()
        if self._partial is not None:
            assert self._path is not None
            os.fsync(self._file.fileno())
            self._give_name(self._partial, self._path)
            _sync_folder(self._path.parent)
        return self._sha.hexdigest()

    def _give_name(self, partial: Path, path: Path) -> None:
        if not self._overwrite:
            try:
                os.link(partial, path)  # refuses where the name is taken
                return
            except FileExistsError:
                raise
            except OSError:  # no hard links there
                if path.exists():
                    raise FileExistsError(*_TAKEN, str(path)) from None
        os.replace(partial, path)

    def _record(self, kind: bytes, body: bytes) -> None:
        self._write(pack_record(kind, body))
        self._write(body)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha.update(data)
        self.size += len(data)


def _created(partial: Path) -> int:
    """A descriptor. Raises OSError that names the folder where that is what is wrong: nobody has
    heard of the partial file."""
    try:
        return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, MODE)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise OSError(error.errno, error.strerror, str(partial.parent)) from None


def _sync_folder(folder: Path) -> None:
    """Makes the names in it durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
