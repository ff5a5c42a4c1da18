"""A writer killed in mid-write, and a disk that refuses to write: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.database import Database
from cluster.storage.errors import StorageFailed
from cluster.storage.log_records import LogBatch
from cluster.storage.log_store import LogStore
from cluster.storage.state_store import StateStore
from tests.integration.storage import damage

WRITER = """
import os, sys
from pathlib import Path
from cluster.storage.log_store import LogStore
from cluster.storage.log_records import LogBatch
from tests.integration.storage.damage import command
root = Path(sys.argv[1])
log = LogStore.open(root / "log", root / "witness")
if log.term == 0:
    log.write(LogBatch(term=1, vote="n1"))
index = log.last_index
os.write(1, b"%d\\n" % index)
while True:
    index += 1
    log.write(LogBatch(entries=[(index, 1, command(index, index % 7000))], commit_index=index - 1))
    os.write(1, b"%d\\n" % index)
"""

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from cluster.storage.errors import StorageFailed
from cluster.storage.log_store import LogStore
from cluster.storage.state_store import StateStore
from cluster.storage.log_records import LogBatch
from tests.integration.storage.damage import assert_holds, command, write_entries
root = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = LogStore.open(root / "log", root / "witness")
state = StateStore.open(root / "state")
log.write(LogBatch(term=1, vote="n1"))
write_entries(log, 1, 50)
state.write({b"a": b"1"}, 50, (1, 1), 0)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
acknowledged = 50
try:
    while True:
        write_entries(log, acknowledged + 1, acknowledged + 1)
        acknowledged += 1
except StorageFailed as error:
    print("log:", error)
assert acknowledged > 60, acknowledged
index = 50
try:
    while True:
        state.write({b"k%d" % index: bytes(900)}, index + 1, (1, 1), 0)
        index += 1
except StorageFailed as error:
    print("state:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for store, write in ((log, lambda: write_entries(log, acknowledged + 1, acknowledged + 1)),
                     (state, lambda: state.write({}, index + 1, (1, 1), 0))):
    assert store.failed
    try:
        write()
    except StorageFailed as error:
        assert "takes no writes since one failed" in str(error), error
    else:
        raise SystemExit("a write was taken after a failed one")
assert_holds(log, acknowledged)  # reads go on
assert len(state.scan(b"k", None, 10_000)) == index - 50
log.close()
state.close()
log = LogStore.open(root / "log", root / "witness")
assert_holds(log, acknowledged)
write_entries(log, acknowledged + 1, acknowledged + 20)
log.close()
log = LogStore.open(root / "log", root / "witness")
assert_holds(log, acknowledged + 20)
state = StateStore.open(root / "state")
assert state.index == index, (state.index, index)
state.close()
print("done", acknowledged, index)
"""


def test_a_writer_killed_again_and_again_loses_nothing_acknowledged(tmp_path: Path) -> None:
    dice = random.Random(7)
    acknowledged = 0
    for _ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(dice.randrange(2, 400)):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        for line in writer.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                acknowledged = int(line)
        writer.stdout.close()
        writer.wait()
        log = LogStore.open(tmp_path / "log", tmp_path / "witness")
        assert log.last_index in (acknowledged, acknowledged + 1)
        assert log.read(1, log.last_index) == [
            (index, 1, damage.command(index, index % 7000))
            for index in range(1, log.last_index + 1)
        ]
        log.close()
    assert acknowledged > 500


def test_a_disk_that_takes_no_more_loses_nothing_acknowledged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "File too large" in done.stdout


class FailingHandle:
    """Stands for LevelDB: fails one write, and would take those after it, as LevelDB does."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.failing = False
        self.tried = 0

    def write_batch(self, *, sync: bool) -> Any:
        self.tried += 1
        if self.failing:
            raise OSError(28, "No space left on device")
        return self._real.write_batch(sync=sync)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def injected(store: LogStore | StateStore) -> FailingHandle:
    handle = FailingHandle(store._db._handle)
    store._db._handle = handle
    return handle


def test_after_a_failed_write_no_other_is_tried(tmp_path: Path) -> None:
    damage.build_log(tmp_path, 5)
    log = LogStore.open(tmp_path / "log", tmp_path / "witness")
    handle = injected(log)
    handle.failing = True
    with pytest.raises(StorageFailed, match="No space left"):
        damage.write_entries(log, 6, 6)
    handle.failing = False
    tried = handle.tried
    for _ in range(3):
        with pytest.raises(StorageFailed, match="takes no writes since one failed"):
            damage.write_entries(log, 6, 6)
    assert handle.tried == tried
    damage.assert_holds(log, 5)
    log.close()
    log = LogStore.open(tmp_path / "log", tmp_path / "witness")
    damage.assert_holds(log, 5)
    damage.write_entries(log, 6, 6)
    damage.assert_holds(log, 6)
    log.close()


def test_a_failed_state_write_leaves_index_and_content(tmp_path: Path) -> None:
    state = StateStore.open(tmp_path / "state")
    state.write({b"a": b"1"}, 1, (0, 1), 0)
    handle = injected(state)
    handle.failing = True
    with pytest.raises(StorageFailed):
        state.write({b"a": b"2"}, 2, (1, 1), 0)
    handle.failing = False
    with pytest.raises(StorageFailed, match="takes no writes since one failed"):
        state.write({b"a": b"2"}, 2, (1, 1), 0)
    assert (state.index, state.get(b"a")) == (1, b"1")
    state.close()


def test_an_interrupt_in_a_write_is_a_failed_write(tmp_path: Path) -> None:
    class Interrupted(FailingHandle):
        def write_batch(self, *, sync: bool) -> Any:
            raise KeyboardInterrupt

    database = Database.open(tmp_path / "db", create=True)
    database._handle = Interrupted(database._handle)
    with pytest.raises(KeyboardInterrupt):
        database.write([(b"a", b"1")])
    assert database.failed
    database.close()


def test_a_batch_whose_witness_cannot_be_written_is_not_released(tmp_path: Path) -> None:
    damage.build_log(tmp_path, 5)
    log = LogStore.open(tmp_path / "log", tmp_path / "witness")
    os.close(log._witness._fd)
    with pytest.raises(StorageFailed, match="witness"):
        log.write(LogBatch(entries=[(6, 1, b"x")]))
    with pytest.raises(StorageFailed, match="takes no writes"):
        log.write(LogBatch(entries=[(6, 1, b"x")]))
    log._witness._fd = -1
    log.close()
