"""Files that are taken over while the node runs: who uses one is told when it has changed.

Looked at every few seconds by name (Kubernetes swaps a link in the path, editors rename), and all
are told at once on SIGHUP. A change is told when it has settled: two looks in a row saw the same,
so that a file is rarely read half-written, and a certificate rarely without its new key. It may
happen all the same: who is told reads, checks, and keeps what it has where that is no good.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

# How often files are looked at, and how soon again where one has changed. Seconds.
LOOK_SECS = 2.0
SETTLE_SECS = 0.25

# Of each file what changes with it, None for one that cannot be seen.
Look = tuple[tuple[int, ...] | None, ...]


def look_at(paths: Iterable[Path]) -> Look:
    """What the files look like now, without reading them."""
    return tuple(_look_at(path) for path in paths)


def _look_at(path: Path) -> tuple[int, ...] | None:
    try:
        seen = os.stat(path)
    except OSError:
        return None
    # The time of the last change to the inode, too: a copy may keep size and time of writing.
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


class WatchedFiles:
    """See the module. Nothing is looked at before `start`, nor after `stop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watches: list[_Watch] = []
        self._timer: asyncio.TimerHandle | None = None

    def watch(
        self,
        name: str,
        paths: Iterable[Path],
        changed: Callable[[], None],
        since: Look | None = None,
    ) -> None:
        """Calls `changed` on the loop whenever one of the files has changed.

        `name` says in logs what they are. `since` is how they looked (`look_at`) before they were
        read; without it changes count from now on. What `changed` raises is logged and no more.
        """
        files = tuple(paths)
        self._watches.append(_Watch(name, files, changed, since or look_at(files)))

    def start(self) -> None:
        """Looks from now on, every `LOOK_SECS`."""
        self._look()

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reload(self) -> None:
        """Tells everybody at once, whatever the files look like: somebody asked (SIGHUP)."""
        for watch in self._watches:
            watch.tell(look_at(watch.paths))

    def _look(self) -> None:
        settled = [watch.look() for watch in self._watches]
        secs = LOOK_SECS if all(settled) else SETTLE_SECS
        self._timer = self._loop.call_later(secs, self._look)


class _Watch:
    """Some files and who is told."""

    __slots__ = ("_changed", "_name", "_seen", "_told", "paths")

    def __init__(
        self, name: str, paths: tuple[Path, ...], changed: Callable[[], None], since: Look
    ) -> None:
        self.paths = paths
        self._name = name
        self._changed = changed
        self._told = self._seen = since

    def look(self) -> bool:
        """Whether nothing is on its way."""
        before, self._seen = self._seen, look_at(self.paths)
        if self._seen == self._told:
            return True
        if self._seen != before:
            return False
        self.tell(self._seen)
        return True

    def tell(self, seen: Look) -> None:
        """Calls who uses the files."""
        self._told = self._seen = seen
        try:
            self._changed()
        except Exception:
            # What is in the files is somebody else's doing: the node goes on with what it has.
            log.exception("what changed could not be taken over", what=self._name)
