"""The overlay against a view in memory: equal, byte for byte, whenever the store is written."""

from __future__ import annotations

import copy
from typing import Any

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.replication.applier import Applier
from cluster.replication.overlay import Overlay
from cluster.storage.errors import FolderRefused
from taskq.machine import keys
from taskq.machine.view import MemoryView
from tests.unit.replication.disk import Disk, MemoryState

# Few and close together, so that keys meet; the last family has no successor.
FAMILIES = (b"a", b"b", b"r", b"\xff")
RESTS = (b"", b"\0", b"1", b"12", b"\xff")
# Ready tasks are kept queue by queue; the name of one queue begins with that of another.
QUEUES = [keys.ready_prefix(name) for name in ("q", "qq")]
READY = [queue + keys.place(rank, 1) for queue in QUEUES for rank in (0, 1, 256, (1 << 64) - 1)]
KEYS = st.sampled_from(
    [family + rest for family in FAMILIES if family != keys.READY for rest in RESTS] + READY
)
VALUES = st.sampled_from([b"", b"x", b"yy", bytes(300)])
PREFIXES = st.sampled_from(
    [b"a", b"a1", b"b", b"b\xff", b"\xff", b"\xff\xff", b"c", b"r", b"rq", *QUEUES]
)


class OverlayModel(RuleBasedStateMachine):
    """Every change goes to both; the store takes frozen layers at any later moment."""

    @initialize(values=st.dictionaries(KEYS, VALUES, max_size=8))
    def begin(self, values: dict[bytes, bytes]) -> None:
        self.model = MemoryView()
        self.disk = Disk()
        for key, value in values.items():
            self.model.put(key, value)
            self.disk.state.put(key, value)
        self.store = self.make_store()
        self.overlay = Overlay(self.store)
        self.frozen: dict[bytes, bytes | None] | None = None
        self.frozen_copy: Any = None
        self.at_freeze: dict[bytes, bytes] = {}
        self.born: set[bytes] = set()

    # A real state store takes its place in the integration tests.
    def make_store(self) -> Any:
        return MemoryState(self.disk)

    def write_store(self, changes: dict[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.disk.state.delete(key)
            else:
                self.disk.state.put(key, value)

    def stored(self) -> dict[bytes, bytes]:
        return dict(self.disk.state.values)

    @rule(key=KEYS, value=VALUES)
    def put(self, key: bytes, value: bytes) -> None:
        self.model.put(key, value)
        self.overlay.put(key, value)

    @rule(key=KEYS, value=VALUES)
    def create(self, key: bytes, value: bytes) -> None:
        if self.model.get(key) is None:
            self.model.create(key, value)
            self.overlay.create(key, value)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.model.delete(key)
        self.overlay.delete(key)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.overlay.get(key) == self.model.get(key)

    @rule(wanted=st.lists(KEYS, max_size=20))
    def get_many(self, wanted: list[bytes]) -> None:
        assert self.overlay.get_many(wanted) == self.model.get_many(wanted)

    @rule(prefix=PREFIXES, after=st.none() | KEYS, limit=st.integers(-1, 20))
    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> None:
        found = self.overlay.scan(prefix, after, limit)
        assert found == self.model.scan(prefix, after, limit)

    @precondition(lambda self: self.frozen is None)
    @rule()
    def begin_write(self) -> None:
        self.frozen = self.overlay.begin_write()
        self.frozen_copy = copy.deepcopy(self.frozen)
        self.at_freeze = dict(self.model.values)
        self.written = False

    @precondition(lambda self: self.frozen is not None and not self.written)
    @rule()
    def write(self) -> None:
        """In the executor: the loop has not heard of it yet."""
        assert self.frozen is not None
        assert self.frozen == self.frozen_copy, "a frozen layer changed"
        self.write_store(self.frozen)
        self.written = True
        assert self.stored() == self.at_freeze, "the state is exactly what it was at the freeze"

    @precondition(lambda self: self.frozen is not None and self.written)
    @rule()
    def end_write(self) -> None:
        self.overlay.end_write()
        self.frozen = None

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "overlay"):
            return
        assert self.overlay.size >= 0
        for family in FAMILIES:
            assert self.overlay.scan(family, None, 100) == self.model.scan(family, None, 100)


TestOverlayModel = OverlayModel.TestCase
TestOverlayModel.settings = settings(max_examples=40, stateful_step_count=40)


def empty() -> Overlay:
    return Overlay(MemoryState(Disk()))


def test_what_was_made_and_deleted_within_a_layer_never_existed() -> None:
    overlay = empty()
    overlay.create(b"a1", b"x")
    overlay.put(b"a1", b"yy")
    overlay.delete(b"a1")
    overlay.create(b"a2", b"x")
    assert overlay.begin_write() == {b"a2": b"x"}


def test_a_delete_of_what_the_layer_below_holds_is_written() -> None:
    overlay = empty()
    overlay.create(b"a1", b"x")
    overlay.begin_write()
    overlay.delete(b"a1")
    overlay.create(b"a1", b"y")
    overlay.delete(b"a1")
    assert overlay.get(b"a1") is None
    overlay.end_write()
    assert overlay.begin_write() == {b"a1": None}


def test_an_empty_value_hides_an_older_one_in_scans() -> None:
    overlay = empty()
    overlay.put(b"a1", b"old")
    overlay.begin_write()
    overlay.put(b"a1", b"")
    assert overlay.scan(b"a", None, 10) == [(b"a1", b"")]
    assert overlay.get(b"a1") == b""


def test_the_size_falls_to_zero_with_what_never_existed() -> None:
    overlay = empty()
    for number in range(100):
        overlay.create(b"a%d" % number, bytes(number))
    assert overlay.size > 100 * 200
    for number in range(100):
        overlay.delete(b"a%d" % number)
    assert overlay.size == 0


def test_a_key_made_above_a_tombstone_that_is_being_written_comes_and_goes() -> None:
    overlay = empty()
    overlay.put(b"a1", b"old")
    overlay.begin_write()
    overlay.end_write()
    overlay.delete(b"a1")
    assert overlay.begin_write() == {b"a1": None}
    overlay.create(b"a1", b"new")
    assert overlay.scan(b"a", None, 10) == [(b"a1", b"new")]
    overlay.delete(b"a1")
    assert overlay.get(b"a1") is None
    overlay.end_write()
    assert overlay.begin_write() == {}


def digest(*steps: tuple[str, bytes, bytes]) -> int:
    overlay = empty()
    for verb, key, value in steps:
        getattr(overlay, verb)(key, *([] if verb == "delete" else [value]))
    return overlay.take_digest()


def test_the_digest_tells_whatever_is_written_apart() -> None:
    same = ("create", b"a1", b"x"), ("put", b"a2", b"y"), ("delete", b"a3", b"")
    others = [
        (("create", b"a1", b"z"), *same[1:]),
        (("create", b"a4", b"x"), *same[1:]),
        (same[0], ("put", b"a2", b"z"), same[2]),
        (*same[:2], ("delete", b"a4", b"")),
        (*same[:2], ("put", b"a3", b"")),
        (same[1], same[0], same[2]),
        same[:2],
    ]
    assert digest(*same) == digest(*same)
    assert len({digest(*steps) for steps in (same, *others)}) == 1 + len(others)


def test_a_state_of_another_format_is_refused() -> None:
    disk = Disk()
    store: Any = MemoryState(disk)
    disk.state.put(keys.CLOCKS, msgpack.packb([keys.FORMAT - 1, 0, 0, 0, 0, []]))
    before = dict(disk.state.values)
    with pytest.raises(FolderRefused, match=f"format {keys.FORMAT - 1}, .* format {keys.FORMAT};"):
        Applier(store)
    assert disk.state.values == before
