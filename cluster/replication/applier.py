"""Applies entries to the machine, and brings the state to disk behind them.

    Raft --entry--> Machine over Overlay --about once a second--> StateStore, in one synced batch

The state on disk is always exactly some index, never ahead of what the log holds for sure. The
driver owns the applier and calls it on the loop; writing happens in an executor of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from zlib import crc32

import structlog

from cluster.replication.build import OWN_BUILD, OtherVersionNeeded, refuse_state
from cluster.replication.digests import Digests
from cluster.replication.overlay import Overlay
from cluster.replication.voters import Voters, decode_record, encode_record
from cluster.storage.errors import FolderRefused
from cluster.storage.state_store import StateStore
from taskq.levels import Build
from taskq.limits import MIB
from taskq.machine import keys
from taskq.machine.entry import UnreadableEntry
from taskq.machine.level import load_level
from taskq.machine.machine import Applied, Machine
from taskq.machine.record import format_of

# The overlay is written when it is so large, or so old.
OVERLAY_SIZE_MAX = 8 * MIB
WRITE_BEHIND_SECS = 1.0

Changes = dict[bytes, bytes | None]

log = structlog.get_logger(__name__)


class Applier:
    """Machine, overlay and state of one node. `index`: the last applied entry."""

    def __init__(
        self,
        store: StateStore,
        build: Build = OWN_BUILD,
        skips: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        """`skips`: index -> checksum of entries that an operator wants left out. Raises
        FolderRefused, OtherVersionNeeded where another version must read the state."""
        _check_format(store, build)
        self._build = build
        self._skips = skips
        self._store = store
        self._overlay = Overlay(store)
        self._listeners: list[Callable[[Applied], None]] = []
        self.machine = Machine(self._overlay, build.level_max)
        self._overlay.take_digest()
        self.digests = Digests(store.index, store.digest)
        self.index = store.index
        self._terms = store.terms

    @property
    def written_index(self) -> int:
        """The index that the state on disk is at."""
        return self._store.index

    def subscribe(self, listener: Callable[[Applied], None]) -> None:
        """`listener` hears of every applied entry, after its results were delivered."""
        self._listeners.append(listener)

    def apply(self, entry: bytes) -> Applied:
        """Carries out our part of an entry. Raises OtherVersionNeeded, with nothing of it done: the
        state, in memory and on disk, is before it."""
        index = max(self.index, 1) + 1  # entry 1 is the same no-op in every log
        if index in self._skips and crc32(entry) == self._skips[index]:
            log.critical("an entry is left out, as an operator wants", index=index)
            return Applied([], set(), [], [], [])
        try:
            return self.machine.apply(entry)
        except UnreadableEntry as error:
            text = f"entry {index} of the log cannot be applied by {self._build.text()}: {error}"
            raise OtherVersionNeeded(text) from error

    def voters(self) -> Voters | None:
        """The set of members in the state, None where the founding one was never changed."""
        record = self._overlay.get(keys.MEMBERS)
        return None if record is None else decode_record(record)

    def set_voters(self, voters: Voters) -> None:
        """A membership entry: it changes nothing of the machine's."""
        self._overlay.put(keys.MEMBERS, encode_record(voters))

    def applied(self, index: int, term: int, result: Applied | None) -> None:
        """An entry, ours, a no-op or a set of members, was applied and its proposer told."""
        assert index == self.index + 1 or self.index == 0, f"entry {index} after {self.index}"
        self.index = index
        self.digests.add(index, self._overlay.take_digest())
        self._terms = (self._terms[1], term)
        if result is not None:
            for listener in self._listeners:
                listener(result)

    @property
    def wants_write(self) -> bool:
        """Whether the overlay is large enough to be written at once."""
        return self._overlay.size >= OVERLAY_SIZE_MAX

    @property
    def unwritten(self) -> bool:
        """Whether the state on disk is behind."""
        return self.index > self._store.index

    @property
    def unwritten_size(self) -> int:
        """Bytes that the state on disk is behind, about."""
        return self._overlay.unwritten_size

    def begin_write(self) -> Callable[[], None]:
        """Freezes what has changed; the function that writes it (blocking, in the state's executor:
        raises StorageFailed). Call `end_write` on the loop after it returned."""
        changes, index, terms = self._overlay.begin_write(), self.index, self._terms
        digest = self.digests.digest
        return lambda: self._store.write(changes, index, terms, digest)

    def end_write(self) -> None:
        """The write returned: the state on disk is at the index it was begun at."""
        self._overlay.end_write()


def _check_format(store: StateStore, build: Build) -> None:
    clocks = store.get(keys.CLOCKS)  # every entry writes them
    if clocks is not None and (found := format_of(clocks)) != keys.FORMAT:
        raise FolderRefused(
            f"the state holds records of format {found}, and this version reads and writes format "
            f"{keys.FORMAT}; start the version that wrote it, nothing was changed"
        )
    if clocks is not None:
        refuse_state(build, load_level(store.get(keys.LEVEL)))
