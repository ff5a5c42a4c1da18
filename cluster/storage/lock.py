"""The lock of a data folder: one process at a time; the kernel releases it with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cluster.storage.errors import FolderInUse

LOCK_NAME = "lock"


class FolderLock:
    """Holds `directory`/lock from construction until `release`.

    Raises FolderInUse with the holder's process id, OSError if the file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 20, 0).strip()
            os.close(self._fd)
            raise FolderInUse(directory, int(holder) if holder.isdigit() else None) from None
        os.truncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next process in. A second call does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.truncate(fd, 0)
            os.close(fd)
