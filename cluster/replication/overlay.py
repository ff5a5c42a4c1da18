"""The node's view of the state: what changed lately, in dictionaries, over the state on disk.

Written behind: the changes of about a second go to disk in one batch, so a task that is submitted,
claimed and completed meanwhile costs one record. Three layers, newest first: `active` (changing),
`writing` (being written, frozen), the store. A key that was made and deleted within one layer never
existed for the disk (`create`).

The applier owns it; the machine sees it as a `View`.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Protocol
from zlib import crc32

# What a changed key costs: its bytes, those of a small value, dictionary slot, objects. Roughly.
ENTRY_SIZE = 256
# Values up to here are in `ENTRY_SIZE`; larger ones are counted by their bytes.
SMALL_SIZE = 128


class Store(Protocol):
    """What the overlay lies over: `cluster.storage.state_store.StateStore`."""

    def get(self, key: bytes) -> bytes | None: ...

    def iterate(
        self, prefix: bytes = b"", start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]: ...


class _Layer(dict[int, dict[bytes, bytes | None]]):
    """Key family (first byte) -> key -> value; None marks a deleted key."""

    def __missing__(self, family: int) -> dict[bytes, bytes | None]:
        changed: dict[bytes, bytes | None] = {}
        self[family] = changed
        return changed


class Overlay:
    """A `View` over a store; see the module."""

    __slots__ = ("_active", "_fresh", "_large", "_said", "_store", "_writing", "_writing_size")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._active = _Layer()
        self._writing = _Layer()
        self._writing_size = 0  # `size` when it was frozen
        # Keys of `_active` that no layer below holds: deleting one leaves nothing behind.
        self._fresh: set[bytes] = set()
        self._large = 0  # bytes of large values put into `_active`
        self._said: list[bytes] = []  # keys and values since the last `take_digest`

    def take_digest(self) -> int:
        """The digest of everything put, created and deleted since the last call (A14)."""
        said, self._said = self._said, []
        return crc32(b"".join(said))

    @property
    def size(self) -> int:
        """Bytes that wait to be written, about."""
        return self._large + ENTRY_SIZE * sum(map(len, self._active.values()))

    @property
    def unwritten_size(self) -> int:
        """The same with those that are being written."""
        return self.size + self._writing_size

    def get(self, key: bytes) -> bytes | None:
        changed = self._active[key[0]]
        if key in changed:
            return changed[key]
        changed = self._writing[key[0]]
        if key in changed:
            return changed[key]
        return self._store.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._active[key[0]][key] = value
        self._said += (key, value)
        if len(value) > SMALL_SIZE:
            self._large += len(value)

    def create(self, key: bytes, value: bytes) -> None:
        changed = self._active[key[0]]
        if key not in changed:  # otherwise a tombstone, which the store still needs
            self._fresh.add(key)
        changed[key] = value
        self._said += (key, value)
        if len(value) > SMALL_SIZE:
            self._large += len(value)

    def delete(self, key: bytes) -> None:
        changed = self._active[key[0]]
        self._said.append(key)
        if key in self._fresh:
            self._fresh.remove(key)
            value = changed.pop(key)
            if value is not None and len(value) > SMALL_SIZE:
                self._large -= len(value)
        else:
            changed[key] = None

    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        if limit <= 0:
            return []
        active = self._active[prefix[0]]
        writing = self._writing[prefix[0]]
        mine = self._smallest(active, writing, prefix, after, limit)
        start = prefix if after is None or after < prefix else after + b"\0"
        found: list[tuple[bytes, bytes]] = []
        position = 0
        for key, value in self._store.iterate(prefix, start):
            if key in active or key in writing:
                continue
            while position < len(mine) and mine[position][0] < key and len(found) < limit:
                found.append(mine[position])
                position += 1
            if len(found) >= limit:
                return found
            found.append((key, value))
            if len(found) >= limit:
                return found
        return found + mine[position : position + limit - len(found)]

    @staticmethod
    def _smallest(
        active: dict[bytes, bytes | None],
        writing: dict[bytes, bytes | None],
        prefix: bytes,
        after: bytes | None,
        limit: int,
    ) -> list[tuple[bytes, bytes]]:
        """The first `limit` live pairs of both layers, in order."""
        low = prefix if after is None or after < prefix else after + b"\0"
        keys = [k for k, v in active.items() if v is not None and k >= low and k.startswith(prefix)]
        keys += [
            k
            for k, v in writing.items()
            if v is not None and k >= low and k not in active and k.startswith(prefix)
        ]
        chosen = nsmallest(limit, keys) if limit < len(keys) else sorted(keys)
        return [(k, (active if k in active else writing)[k] or b"") for k in chosen]

    def begin_write(self) -> dict[bytes, bytes | None]:
        """Freezes what has changed and hands it out; a new layer takes what changes from now on."""
        assert not any(self._writing.values()), "one write at a time"
        self._writing_size = self.size
        self._writing, self._active = self._active, _Layer()
        self._fresh = set()
        self._large = 0
        changes: dict[bytes, bytes | None] = {}
        for family in self._writing.values():
            changes.update(family)
        return changes

    def end_write(self) -> None:
        """The store holds what `begin_write` handed out."""
        self._writing = _Layer()
        self._writing_size = 0
