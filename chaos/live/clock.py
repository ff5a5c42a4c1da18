"""The clock of one node's process, told by libfaketime: wrong by as much as a file says, at once.

    WALL    the wall clock is wrong, the monotonic clock is real
    STEADY  both are wrong alike: no machine does this, but virtual ones come near it

Which of the two is settled when a process starts. The file is read at every look at a clock that is
wrong, which makes that some microseconds dearer; time-outs of system calls are stretched to fit the
rate. What a node does not do, the library does badly: `time.sleep` fails in WALL, and a thread's
wait for another with a time-out goes wrong in STEADY.
"""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path

from chaos.live.node import LiveNode

WALL, STEADY = "wall", "steady"
LIBRARY = "libfaketimeMT.so.1"
PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/*")


# What it takes of a machine.
CLOCK = "clock"


class NoLibrary(Exception):
    """libfaketime is not here; the message says what to install."""


def library() -> Path:
    """Raises NoLibrary."""
    for place in PLACES:
        for found in glob.glob(f"{place}/{LIBRARY}"):
            return Path(found)
    raise NoLibrary(f"{LIBRARY} is missing: apt-get install faketime")


def abilities() -> frozenset[str]:
    """CLOCK, where the library is."""
    try:
        library()
    except NoLibrary:
        return frozenset()
    return frozenset({CLOCK})


def _age_secs(pid: int) -> float:
    """Since the start of a process, as exact as the system tells: to 10 ms. (Since `spawn` it is
    half a second more, where a container is made first.)"""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


class Clock:
    """The clock of `node`: its processes have it from the next one that is started after `put_on`
    to the last one before `take_off`. How wrong it is stands in a file, so that another object for
    the same node goes on from there; a rate counts from the start of the process."""

    def __init__(self, node: LiveNode) -> None:
        self._node = node
        self._file = node.home / "clock"

    def put_on(self, kind: str) -> None:
        """For the processes that are started from now on. Right at first, but for a process that
        runs with it: for that one nothing changes. Raises NoLibrary."""
        if not self.is_on(kind):
            self.take_off()
            self._tell(0.0, 1.0)
        found = self._node.environment
        others = [one for one in found.get("LD_PRELOAD", "").split() if LIBRARY not in one]
        found["LD_PRELOAD"] = " ".join([*others, str(library())])
        found["FAKETIME_TIMESTAMP_FILE"] = str(self._file)
        found["FAKETIME_NO_CACHE"] = "1"
        # What it would share with children outlives a kill, and is in the way of a later process of
        # the same number.
        found["FAKETIME_DISABLE_SHM"] = "1"
        # Left to itself, 0.9.10 takes the deadline of every wait on a condition by the monotonic
        # clock for a faked one, in WALL too: a thread waits for years for the interpreter's lock.
        found["FAKETIME_FORCE_MONOTONIC_FIX"] = str(int(kind == STEADY))
        if kind == WALL:
            found["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"

    def take_off(self) -> None:
        """The next process has the machine's clocks."""
        found = self._node.environment
        others = [one for one in found.pop("LD_PRELOAD", "").split() if LIBRARY not in one]
        for name in [name for name in found if name.startswith("FAKETIME")]:
            del found[name]
        if others:
            found["LD_PRELOAD"] = " ".join(others)

    def is_on(self, kind: str) -> bool:
        """Whether the running process has such a clock."""
        if not self._node.running:
            return False
        try:
            environment = Path(f"/proc/{self._node.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False  # it ended just now
        real = b"FAKETIME_DONT_FAKE_MONOTONIC=1" in environment
        own = f"FAKETIME_TIMESTAMP_FILE={self._file}".encode() in environment
        return own and real == (kind == WALL)

    def be_off(self, offset_secs: float) -> None:
        """Wrong by so much from now on: jumps there, whatever it was."""
        self._tell(offset_secs, self._told()[1])

    def jump(self, secs: float) -> None:
        """Ahead, or back, of what it was."""
        offset_secs, rate = self._told()
        self._tell(offset_secs + secs, rate)

    def run_at(self, rate: float) -> None:
        """Goes on from what it shows, so much faster, or slower; STEADY clocks only, whose wait for
        another is stretched, too."""
        offset_secs, before = self._told()
        age_secs = _age_secs(self._node.pid)
        self._tell(offset_secs + (before - rate) * age_secs, rate)

    def _told(self) -> tuple[float, float]:
        offset, rate = self._file.read_text().split()
        return float(offset), float(rate.removeprefix("x"))

    def _tell(self, offset_secs: float, rate: float) -> None:
        self._node.home.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_secs:+.6f} x{rate:g}\n")
        os.replace(new, self._file)  # never read half
