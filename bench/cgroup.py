"""A hard limit on the memory of processes: a control group for each, version 1 or 2. Needs root."""

from __future__ import annotations

import contextlib
from pathlib import Path

from taskq.limits import MIB

ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """What a process and its page cache may take together, `limit_mib`; over it the system ends the
    process. Raises OSError where groups cannot be made."""

    def __init__(self, name: str, limit_mib: int) -> None:
        older = ROOT / "memory"
        self._folder = (older if older.is_dir() else ROOT) / f"taskq-bench-{name}"
        self._folder.mkdir()
        limit = "memory.limit_in_bytes" if older.is_dir() else "memory.max"
        (self._folder / limit).write_text(str(limit_mib * MIB))

    def command(self, command: list[str]) -> list[str]:
        """The command, as a process of this group from its start on."""
        join = 'echo $$ > "$0" && exec "$@"'
        return ["sh", "-c", join, str(self._folder / "cgroup.procs"), *command]

    def remove(self) -> None:
        """After its processes have ended."""
        with contextlib.suppress(OSError):
            self._folder.rmdir()
