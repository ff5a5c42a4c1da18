"""The node's view of the state: what changed lately, in dictionaries, over the state on disk.

Written behind: the changes of about a second go to disk in one batch, so a task that is submitted,
claimed and completed meanwhile costs one record. Three layers, newest first: the one that changes,
`writing` (being written, frozen), the store. A key that was made and deleted within one layer never
existed for the disk (`create`); therefore the first layer keeps keys of which nothing lies below
(`made`) apart from those whose older values or traces it has to hide (`changed`).

The applier owns it; the machine sees it as a `View`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nsmallest
from typing import Protocol, TypeVar
from zlib import crc32

from taskq.machine import keys

# What a changed key costs: its bytes, those of a small value, dictionary slot, objects. Roughly.
ENTRY_SIZE = 256
# Values up to here are in `ENTRY_SIZE`; larger ones are counted by their bytes.
SMALL_SIZE = 128
# What the digest takes in for a deleted key: no record is this.
_GONE = b"\0"


class Store(Protocol):
    """What the overlay lies over: `cluster.storage.state_store.StateStore`."""

    def get(self, key: bytes) -> bytes | None: ...

    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]: ...

    def iterate(
        self, prefix: bytes = b"", start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]: ...


Value = bytes | None  # None marks a deleted key
_Value = TypeVar("_Value", bytes, Value)


# A family is scanned as a whole, so those of ready tasks are kept queue by queue: windows of many
# queues are refilled often.
_Family = int | bytes
_READY = keys.READY[0]
_QUEUE = -keys.PLACE_SIZE  # the end of the queue's name in a key of a ready task


class _Layer(dict[_Family, dict[bytes, _Value]]):
    """Key family (first byte, or that of a queue's ready tasks) -> key -> value."""

    def __missing__(self, family: _Family) -> dict[bytes, _Value]:
        changed: dict[bytes, _Value] = {}
        self[family] = changed
        return changed

    def part(self, prefix: bytes) -> dict[bytes, _Value]:
        """All that may begin with the prefix: one family, but for who looks at many queues."""
        if prefix[0] != _READY:
            return self[prefix[0]]
        queue, end, _ = prefix.partition(b"\0")
        if end:
            return self[queue + end]
        found: dict[bytes, _Value] = {}
        for family, pairs in self.items():
            if isinstance(family, bytes) and family.startswith(prefix):
                found.update(pairs)
        return found


class Overlay:
    """A `View` over a store; see the module."""

    __slots__ = ("_changed", "_large", "_made", "_said", "_store", "_writing", "_writing_size")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made = _Layer[bytes]()
        self._changed = _Layer[Value]()
        self._writing = _Layer[Value]()
        self._writing_size = 0  # `size` when it was frozen
        self._large = 0  # bytes of large values put into the first layer
        self._said: list[bytes] = []  # keys and values since the last `take_digest`

    def take_digest(self) -> int:
        """The digest of everything put, created and deleted since the last call (A14)."""
        said, self._said = self._said, []
        return crc32(b"".join(said))

    @property
    def size(self) -> int:
        """Bytes that wait to be written, about."""
        count = sum(map(len, self._made.values())) + sum(map(len, self._changed.values()))
        return self._large + ENTRY_SIZE * count

    @property
    def unwritten_size(self) -> int:
        """The same with those that are being written."""
        return self.size + self._writing_size

    def get(self, key: bytes) -> bytes | None:
        family: _Family = key[0]
        if family == _READY:
            family = key[:_QUEUE]
        made = self._made[family].get(key)
        if made is not None:
            return made
        changed = self._changed[family]
        if key in changed:
            return changed[key]
        writing = self._writing[family]
        return writing[key] if key in writing else self._store.get(key)

    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        found: dict[bytes, bytes | None] = {}
        below: list[bytes] = []
        for key in wanted:
            family: _Family = key[0]
            if family == _READY:
                family = key[:_QUEUE]
            for layer in (self._made[family], self._changed[family], self._writing[family]):
                if key in layer:
                    found[key] = layer[key]
                    break
            else:
                below.append(key)
        found.update(zip(below, self._store.get_many(below), strict=True))
        return [found[key] for key in wanted]

    def put(self, key: bytes, value: bytes) -> None:
        family: _Family = key[0]
        if family == _READY:
            family = key[:_QUEUE]
        made = self._made[family]
        if key in made:
            made[key] = value
        else:
            self._changed[family][key] = value
        said = self._said
        said.append(key)
        said.append(value)
        if len(value) > SMALL_SIZE:
            self._large += len(value)

    def create(self, key: bytes, value: bytes) -> None:
        family: _Family = key[0]
        if family == _READY:
            family = key[:_QUEUE]
        changed = self._changed[family]
        if key in changed:  # a tombstone, which the store still needs
            changed[key] = value
        else:
            self._made[family][key] = value
        said = self._said
        said.append(key)
        said.append(value)
        if len(value) > SMALL_SIZE:
            self._large += len(value)

    def delete(self, key: bytes) -> None:
        said = self._said
        said.append(key)
        said.append(_GONE)
        family: _Family = key[0]
        if family == _READY:
            family = key[:_QUEUE]
        value = self._made[family].pop(key, None)
        if value is None:
            self._changed[family][key] = None
        elif len(value) > SMALL_SIZE:
            self._large -= len(value)

    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        if limit <= 0:
            return []
        layers = (self._made.part(prefix), self._changed.part(prefix), self._writing.part(prefix))
        made, changed, writing = layers
        mine = self._smallest(layers, prefix, after, limit)
        start = prefix if after is None or after < prefix else after + b"\0"
        found: list[tuple[bytes, bytes]] = []
        position = 0
        for key, value in self._store.iterate(prefix, start):
            if key in changed or key in writing or key in made:
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

    def _smallest(
        self,
        layers: tuple[dict[bytes, bytes], dict[bytes, Value], dict[bytes, Value]],
        prefix: bytes,
        after: bytes | None,
        limit: int,
    ) -> list[tuple[bytes, bytes]]:
        """The first `limit` live pairs of the layers, in order."""
        made, changed, writing = layers
        low = prefix if after is None or after < prefix else after + b"\0"
        keys = [k for k in made if k >= low and k.startswith(prefix)]
        keys += [
            k for k, v in changed.items() if v is not None and k >= low and k.startswith(prefix)
        ]
        keys += [
            k
            for k, v in writing.items()
            if v is not None and k >= low and k not in changed and k.startswith(prefix)
        ]
        chosen = nsmallest(limit, keys) if limit < len(keys) else sorted(keys)
        return [(key, self.get(key) or b"") for key in chosen]

    def begin_write(self) -> dict[bytes, Value]:
        """Freezes what has changed and hands it out; a new layer takes what changes from now on."""
        assert not any(self._writing.values()), "one write at a time"
        self._writing_size = self.size
        for family, made in self._made.items():
            self._changed[family].update(made)
        self._writing, self._changed, self._made = self._changed, _Layer(), _Layer()
        self._large = 0
        changes: dict[bytes, Value] = {}
        for layer in self._writing.values():
            changes.update(layer)
        return changes

    def end_write(self) -> None:
        """The store holds what `begin_write` handed out."""
        self._writing = _Layer()
        self._writing_size = 0
