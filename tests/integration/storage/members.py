"""The folder of a member of a group, with known content, opened as its node opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.storage.directory import DataDirectory
from cluster.storage.flags import ID_MAX, NON_VOTING_FLAG
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore
from cluster.storage.member_stores import MemberStores
from cluster.storage.state_store import StateStore
from tests.integration.storage import damage

ENTRIES = 60
STATE_INDEX = 40
DROPPED = 30  # in a log that was cut: its first entry


@contextmanager
def opened(root: Path, *, listed: bool = True) -> Iterator[MemberStores]:
    with DataDirectory.open(root, "n1") as directory:
        stores = directory.open_member_stores(listed=listed)
        try:
            yield stores
        finally:
            stores.log.close()
            stores.state.close()


def fill_state(state: StateStore, first: int, last: int) -> None:
    for index in range(first, last + 1):
        state.write(
            {b"key-%d" % index: damage.command(index), b"shared": b"%d" % index}, index, (1, 1), 0
        )


def build_member(root: Path, *, cut: bool, listed: bool = True) -> Path:
    """Entries 1 to 60 (`cut`: 30 to 60), the state at 40, both in a write-ahead file each."""
    with opened(root, listed=listed) as stores:
        stores.log.write(LogBatch(term=1, vote="n1"))
        damage.write_entries(stores.log, 1, ENTRIES)
        fill_state(stores.state, 1, STATE_INDEX)
        if cut:
            stores.log.write(LogBatch(drop_below=DROPPED))
    return root


def assert_state(state: StateStore, index: int) -> None:
    """The state is what it was at `index`, no more and no less."""
    expected = {b"key-%d" % i: damage.command(i) for i in range(1, index + 1)}
    if index:
        expected[b"shared"] = b"%d" % index
    assert state.index == index
    assert list(state.iterate()) == sorted(expected.items())


def flag(log: LogStore) -> int:
    """The id of the flag non-voting; 0 where the log votes."""
    found = log.flags.get(NON_VOTING_FLAG, 0)
    assert 0 <= found <= ID_MAX
    return found


def kept(root: Path) -> list[str]:
    """The names of what was set aside, without their times."""
    folder = root / "set-aside"
    return (
        sorted(path.name.split("-", 1)[1] for path in folder.iterdir()) if folder.exists() else []
    )
