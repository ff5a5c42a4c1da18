"""A1: an entry is ours or a no-op; whatever else is in a log stops the node and runs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from pysyncobj import syncobj, tcp_connection

from cluster.replication import command_codec
from cluster.storage.log_records import LogBatch
from tests.unit.replication.disk import Disk, MemoryLog
from tests.unit.replication.rig import Rig

MakeRig = Callable[..., Rig]

# Pickles that run code when they are read, written by hand.
BODY = b"cbuiltins\nexec\n(S'import sys; sys.hostile_ran = True'\ntR."
HOSTILE = [BODY, b"\x80\x02" + BODY, b"\x80\x04" + BODY]
VERSION, MEMBERSHIP, UNKNOWN = b"\3", b"\2", b"\x07"


def has_run() -> bool:
    return bool(sys.__dict__.pop("hostile_ran", False))


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    for hostile in HOSTILE:
        tcp_connection.pickle.loads(hostile)  # as it comes, one frame is enough
        assert has_run(), "no bait"
    yield
    assert not has_run()


def test_pickle_inside_pysyncobj_is_ours() -> None:
    assert syncobj.pickle is command_codec
    names = {name for name in vars(command_codec) if not name.startswith("_")}
    assert {"loads", "dumps", "load", "dump", "to_bytes"} <= names


@pytest.mark.parametrize("hostile", HOSTILE)
def test_loads_takes_bytes_for_bytes(hostile: bytes) -> None:
    assert command_codec.loads(hostile) == (0, (hostile,))


def test_nothing_is_pickled() -> None:
    with pytest.raises(AssertionError, match="pickle"):
        command_codec.dumps(["add", "n2"])
    with pytest.raises(AssertionError, match="pickle"):
        command_codec.load(object())


@pytest.mark.parametrize("kind", [VERSION, MEMBERSHIP, UNKNOWN, b"\0", b""])
@pytest.mark.parametrize("hostile", HOSTILE[:2])
def test_a_hostile_entry_in_the_log_stops_the_node(
    make_rig: MakeRig, kind: bytes, hostile: bytes
) -> None:
    """A regular entry that is no entry of ours stops it, too: every node would do the same."""
    disk = Disk()
    body = hostile if kind else b""
    entries = [(1, 0, b"\1"), (2, 1, b"\1"), (3, 1, kind + body)]
    MemoryLog(disk).write(LogBatch(entries=entries, term=1, vote="n1", commit_index=3))
    for _ in range(2):  # and again at the next start
        rig = make_rig(disk)
        rig.start()
        assert len(rig.failures) == 1, "it went on"
        assert rig.raft.applied_index == 2
        assert not rig.raft.is_leader
        assert len(rig.raft.otherNodes) == 0
        assert rig.raft.getCodeVersion() == 0


def test_pysyncobjs_own_verbs_propose_nothing(make_rig: MakeRig) -> None:
    """Membership, versions and its decorated method would go through its own codec."""
    rig = make_rig()
    rig.lead()
    last = rig.journal.last_index
    with pytest.raises(Exception, match="dynamicMembershipChange is disabled"):
        rig.raft.addNodeToCluster("127.0.0.1:1")
    with pytest.raises(AssertionError, match="pickle"):
        rig.raft.setCodeVersion(0)
    with pytest.raises(AssertionError, match="pickle"):
        rig.raft.apply(b"entry")
    assert rig.journal.last_index == last


def test_only_a_leader_proposes(make_rig: MakeRig) -> None:
    """A4, A6: nothing is queued, so nothing can be forwarded later with a stale stamp."""
    rig = make_rig()
    last = rig.journal.last_index
    with pytest.raises(AssertionError, match="only a leader proposes"):
        rig.raft.propose(b"entry", lambda result, applied: None)
    assert rig.journal.last_index == last


def test_a_tick_applies_for_a_bounded_time(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig()
    rig.lead()
    for tag in range(1, 31):
        rig.submit(tag)
        rig.log.finish()
    rig.crash()
    ticks = iter(range(10**6))
    monkeypatch.setattr(rig.raft, "_clock", lambda: next(ticks) * 0.011)
    before = rig.raft.applied_index
    rig.raft.commit_to(rig.journal.flushed_index)
    rig.raft.doTick(0)
    assert rig.raft.applied_index - before == 1, "2 ms, each look at the clock takes 11"
    rig.lead()
    assert rig.raft.applied_index == rig.disk.head.last
