"""Watched files: what counts as a change, when it is told, and what does not stop the watch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.watched_files import LOOK_SECS, SETTLE_SECS, WatchedFiles, look_at
from tests.unit.server.virtual_loop import VirtualLoop


class Watched:
    """A watched file `path` in a folder; `told` holds what it said each time its user was told."""

    def __init__(self, folder: Path) -> None:
        self.loop = VirtualLoop()
        self.files = WatchedFiles(self.loop)
        self.path = folder / "file"
        self.path.write_text("first")
        self.told: list[str] = []
        self.files.watch("a file", [self.path], self._changed)
        self.files.start()

    def _changed(self) -> None:
        self.told.append(self.path.read_text())

    def pass_by(self, secs: float = LOOK_SECS + 2 * SETTLE_SECS) -> None:
        self.loop.advance(secs)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.files.stop()


def test_an_unchanged_file_is_never_told(watched: Watched) -> None:
    watched.pass_by(60)
    assert watched.told == []


def test_a_file_written_anew_is_told_once(watched: Watched) -> None:
    watched.path.write_text("second")
    watched.pass_by()
    watched.pass_by(60)
    assert watched.told == ["second"]


def test_one_renamed_into_its_place_with_equal_size_and_time_is_told(watched: Watched) -> None:
    before = watched.path.stat()
    other = watched.path.with_name("other")
    other.write_text("FIRST")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(watched.path)
    watched.pass_by()
    assert watched.told == ["FIRST"]


def test_a_link_in_its_path_that_is_swapped_is_told(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "..data").symlink_to("old")
    watched = Watched(tmp_path / "..data")
    (tmp_path / "new" / "file").write_text("from the new folder")
    (tmp_path / "..data_tmp").symlink_to("new")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    watched.pass_by()
    assert watched.told == ["from the new folder"]
    watched.files.stop()


def test_what_is_still_being_written_is_told_when_it_is_whole(watched: Watched) -> None:
    watched.pass_by(LOOK_SECS - SETTLE_SECS / 2)
    for count in range(1, 9):
        watched.path.write_text("half " * count)
        watched.pass_by(SETTLE_SECS)
    assert watched.told == []
    watched.path.write_text("whole")
    watched.pass_by()
    assert watched.told == ["whole"]


def test_what_changed_between_reading_and_watching_is_told(tmp_path: Path) -> None:
    loop, told = VirtualLoop(), []
    path = tmp_path / "file"
    path.write_text("as it was read")
    files = WatchedFiles(loop)
    since = look_at([path])
    path.write_text("as it was a moment later")
    files.watch("a file", [path], lambda: told.append(path.read_text()), since)
    files.start()
    loop.advance(LOOK_SECS)
    assert told == ["as it was a moment later"]
    files.stop()


def test_a_lost_file_is_told_and_its_return_too(watched: Watched) -> None:
    watched.path.unlink()
    watched.pass_by()  # its user fails to read it: logged, and the watch goes on
    assert watched.told == []
    watched.path.write_text("back")
    watched.pass_by()
    assert watched.told == ["back"]


def test_asked_for_all_are_told_at_once_changed_or_not(watched: Watched) -> None:
    other: list[str] = []
    watched.files.watch("another", [], lambda: other.append("told"))
    watched.files.reload()
    assert (watched.told, other) == (["first"], ["told"])


def test_one_user_that_fails_keeps_nothing_from_the_others(watched: Watched) -> None:
    watched.path.unlink()
    other: list[str] = []
    watched.files.watch("another", [], lambda: other.append("told"))
    watched.files.reload()
    assert (watched.told, other) == ([], ["told"])


def test_after_the_stop_nothing_is_looked_at(watched: Watched) -> None:
    watched.files.stop()
    watched.path.write_text("second")
    watched.pass_by(60)
    assert watched.told == []
