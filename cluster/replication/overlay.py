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

# What a changed key costs beside its bytes: dictionary slot, objects. A rough measure.
ENTRY_OVERHEAD = 160


class Store(Protocol):
    """What the overlay lies over: `cluster.storage.state_store.StateStore`."""

    def get(self, key: bytes) -> bytes | None: ...

    def iterate(
        self, prefix: bytes = b"", start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]: ...


_ABSENT = object()
# Key family (first byte) -> key -> value; None marks a deleted key.
_Layer = dict[int, dict[bytes, bytes | None]]


class Overlay:
    """A `View` over a store; see the module. `size`: bytes that wait to be written, about."""

    __slots__ = ("_active", "_fresh", "_store", "_writing", "size")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._active: _Layer = {}
        self._writing: _Layer = {}
        # Keys of `_active` that no layer below holds: deleting one leaves nothing behind.
        self._fresh: set[bytes] = set()
        self.size = 0

    def get(self, key: bytes) -> bytes | None:
        family = key[0]
        for layer in (self._active, self._writing):
            changed = layer.get(family)
            if changed is not None:
                value = changed.get(key, _ABSENT)
                if value is not _ABSENT:
                    return value  # type: ignore[return-value]
        return self._store.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._changed(key)[key] = value
        self.size += len(key) + len(value) + ENTRY_OVERHEAD

    def create(self, key: bytes, value: bytes) -> None:
        changed = self._changed(key)
        if key not in changed:  # otherwise a tombstone, which the store still needs
            self._fresh.add(key)
        changed[key] = value
        self.size += len(key) + len(value) + ENTRY_OVERHEAD

    def delete(self, key: bytes) -> None:
        changed = self._changed(key)
        if key in self._fresh:
            self._fresh.discard(key)
            value = changed.pop(key)
            self.size -= len(key) + len(value or b"") + ENTRY_OVERHEAD
        else:
            changed[key] = None
            self.size += len(key) + ENTRY_OVERHEAD

    def _changed(self, key: bytes) -> dict[bytes, bytes | None]:
        changed = self._active.get(key[0])
        if changed is None:
            changed = self._active[key[0]] = {}
        return changed

    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        if limit <= 0:
            return []
        active = self._active.get(prefix[0], {})
        writing = self._writing.get(prefix[0], {})
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
        assert not self._writing, "one write at a time"
        self._writing, self._active = self._active, {}
        self._fresh = set()
        self.size = 0
        changes: dict[bytes, bytes | None] = {}
        for family in self._writing.values():
            changes.update(family)
        return changes

    def end_write(self) -> None:
        """The store holds what `begin_write` handed out."""
        self._writing = {}
