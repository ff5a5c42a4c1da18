"""A disk that is slow, full or broken, as a program on it sees it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from chaos.live.shim.control import ALWAYS, LOG, STATE, ShimmedDisk
from tests.integration.chaos.disk_writer import content, run, shimmed

TRIES = """
def tried(what):
    try:
        return what()
    except OSError as error:
        return -error.errno
os.makedirs(at("log"), exist_ok=True)
os.makedirs(at("state"), exist_ok=True)
"""


@pytest.fixture
def disk(tmp_path: Path) -> ShimmedDisk:
    return shimmed(tmp_path)


def test_a_slow_disk_takes_longer_for_each_sync(disk: ShimmedDisk) -> None:
    program = 'fd = put("a", b"1")\nfor _ in range(10): synced(fd)'
    disk.slow(sync_secs=(0.02, 0.04))
    started = time.monotonic()
    run(disk, program)
    assert time.monotonic() - started > 0.2
    assert disk.met == 10


def test_a_stalled_disk_goes_on_when_it_is_healed(disk: ShimmedDisk) -> None:
    disk.stall()
    with pytest.raises(AssertionError):  # an alarm ends it, and not its own kill
        run(disk, 'import signal; signal.setitimer(signal.ITIMER_REAL, 0.1); put("a", b"1")')
    assert content(disk)["a"] == b"", "it waits before it writes"
    disk.heal()
    run(disk, 'put("a", b"1")')
    assert content(disk)["a"] == b"1"


def test_a_full_disk_takes_what_fits_and_refuses_the_rest(disk: ShimmedDisk) -> None:
    disk.leave_room(10)
    run(
        disk,
        TRIES.replace('os.makedirs(at("log"), exist_ok=True)\n', "")
        + """
import errno, shutil
fd = opened("a")
assert os.write(fd, b"123456") == 6
assert os.write(fd, b"789012") == 4
assert tried(lambda: os.write(fd, b"3")) == -errno.ENOSPC
assert tried(lambda: os.pwrite(fd, b"over", 0)) == 4, "what is there can be written over"
assert shutil.disk_usage(folder).free == 0
assert tried(lambda: os.mkdir(at("sub"))) == -errno.ENOSPC
os.unlink(at("a"))
assert os.write(opened("b"), b"1234567890") == 10
""",
    )
    assert content(disk)["b"] == b"1234567890"


def test_room_that_nobody_is_told_of(disk: ShimmedDisk) -> None:
    disk.leave_room(0, told=False)
    run(disk, "import shutil; assert shutil.disk_usage(folder).free > 0")


@pytest.mark.parametrize("what", ["reads", "writes", "syncs"])
def test_a_broken_disk_reports_errors_where_it_is_told_to(disk: ShimmedDisk, what: str) -> None:
    run(disk, TRIES + 'put("log/a", b"1"); put("state/a", b"1")')
    steps = {
        "reads": "lambda: os.read(opened(part), 1)",
        "writes": "lambda: os.write(opened(part), b'1')",
        "syncs": "lambda: synced(opened(part))",
    }
    program = (
        TRIES
        + f"""
import errno
for part, broken in (("log/a", "{{0}}"), ("state/a", "{{1}}")):
    outcome = tried({steps[what]})
    assert (outcome == -errno.EIO) == (broken == "True"), (part, outcome)
"""
    )
    for aim, broken in ((LOG, (True, False)), (STATE, (False, True))):
        disk.fail(**{what: ALWAYS}, aim=aim)
        run(disk, program.format(*broken))
    assert disk.met == 2


def test_files_elsewhere_are_left_alone(disk: ShimmedDisk, tmp_path: Path) -> None:
    disk.leave_room(0)
    disk.fail(reads=ALWAYS, writes=ALWAYS, syncs=ALWAYS)
    elsewhere = tmp_path / "elsewhere"
    run(disk, f"fd = os.open({str(elsewhere)!r}, 66); os.write(fd, b'1'); synced(fd)")
    assert elsewhere.read_bytes() == b"1"
    assert disk.met == 0
