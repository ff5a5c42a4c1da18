"""CPU and memory of the worker and its pool processes, for the heartbeats.

Exact on Linux (/proc); elsewhere the CPU time of the worker's own process only, and no memory.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

_PROC = sys.platform == "linux"
_TICKS = os.sysconf("SC_CLK_TCK") if _PROC else 100
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE") if _PROC else 4096


def parse_stat(line: str) -> tuple[int, int]:
    """CPU ticks (user and system) and resident pages from a line of /proc/<pid>/stat."""
    # The command's name is in parentheses and may hold spaces and parentheses itself.
    fields = line.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]), int(fields[21])


class Usage:
    """Measures from one call of `sample` to the next."""

    def __init__(self) -> None:
        self._ticks: dict[int, int] = {}
        self._at = time.monotonic()
        self._own_secs = time.process_time()

    def sample(self, child_pids: Iterable[int]) -> tuple[int, int]:
        """CPU in thousandths of one core since the last call, and resident memory in bytes."""
        now = time.monotonic()
        elapsed, self._at = max(now - self._at, 1e-3), now
        if not _PROC:
            own, before = time.process_time(), self._own_secs
            self._own_secs = own
            return min(int((own - before) / elapsed * 1000), 1_000_000), 0
        used, pages, seen = 0, 0, {}
        for pid in (os.getpid(), *child_pids):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                    ticks, resident = parse_stat(file.read())
            except (OSError, IndexError, ValueError):
                continue  # it has just ended
            seen[pid] = ticks
            used += max(0, ticks - self._ticks.get(pid, 0 if self._ticks else ticks))
            pages += resident
        self._ticks = seen
        return min(int(used / _TICKS / elapsed * 1000), 1_000_000), pages * _PAGE_SIZE
