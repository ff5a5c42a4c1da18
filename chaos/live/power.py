"""A power cut: what a killed process had not synced vanishes from its folder, or part of it does.

The process ran on a shimmed disk (`chaos/live/shim`), whose journal tells what was not durable when
it died. A cut leaves a state that a disk may really have after one: all that was synced; of the
rest nothing, everything, or any sectors, as the seed will; names as far as they had come.
"""

from __future__ import annotations

import enum
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chaos.live.power_journal import FileTrace, Kind, Record, read_journal
from chaos.live.shim.control import ShimmedDisk

# A disk writes whole sectors, the system whole pages. Bytes.
TORN_SIZES = (512, 4096)


class Left(enum.Enum):
    """What is left of that which was not synced."""

    NOTHING = "nothing"
    SOME = "some"
    EVERYTHING = "everything"


# Notes of LevelDB, over which the shim passes; see shim/files.c.
UNSEEN = {"LOG", "LOG.old", "LOCK"}
# Everything stays is what a kill does, too.
_USUAL = (Left.NOTHING, Left.NOTHING, Left.SOME, Left.SOME, Left.SOME, Left.EVERYTHING)


@dataclass(frozen=True, slots=True)
class Cut:
    """What a cut did. `unsynced`: changes of bytes and names that could have been lost; `files`
    are not as they were, `names` are undone."""

    left: Left
    torn_size: int
    unsynced: int
    files: int
    names: int


def cut_power(disk: ShimmedDisk, chance: random.Random, left: Left | None = None) -> Cut:
    """Loses what was not synced, `left` but for that which stays; chance decides where None is
    given. No process uses the folder. Raises OSError."""
    left = left or chance.choice(_USUAL)
    torn_size = chance.choice(TORN_SIZES)
    journal = read_journal(disk.journal.read_bytes())
    places = _places(disk.folder, disk.kept)
    unsynced = len(journal.names) - journal.sure
    files = 0
    for inode, trace in journal.files.items():
        unsynced += sum(not change.durable for change in trace.changes)
        if inode in places and _lose(places[inode], trace, left, torn_size, chance):
            files += 1
    kept = _kept_count(journal.sure, len(journal.names), left, chance)
    for name in reversed(journal.names[kept:]):
        _undo_name(name)
    disk.forget()
    return Cut(left, torn_size, unsynced, files, len(journal.names) - kept)


def _places(*folders: Path) -> dict[int, Path]:
    """A path for each file's inode."""
    found = {}
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                path = Path(root, name)
                found[path.stat().st_ino] = path
    return found


def _kept_count(least: int, most: int, left: Left, chance: random.Random) -> int:
    if left is Left.SOME:
        return chance.randint(least, most)
    return least if left is Left.NOTHING else most


# --- bytes --------------------------------------------------------------------------------------


def _lose(path: Path, trace: FileTrace, left: Left, size: int, chance: random.Random) -> bool:
    """Gives the file a content that it may have after the cut; whether that is another."""
    if left is Left.EVERYTHING and not any(change.lost for change in trace.changes):
        return False
    present = path.read_bytes()
    durable, reached = _contents(present, trace, left, chance)
    content = durable if left is Left.NOTHING else _merged(durable, reached, size, chance)
    if content == present:
        return False
    with path.open("r+b") as file:
        file.write(content)
        file.truncate(len(content))
    return True


def _contents(
    present: bytes, trace: FileTrace, left: Left, chance: random.Random
) -> tuple[bytes, bytes]:
    """The file as it is durable, and as it was at some moment since then."""
    if trace.image:
        image = Path(trace.image).read_bytes()
        return rebuilt(image, trace.changes, lambda change: change.durable), present
    pending = [change for change in trace.changes if not change.durable]
    count = _kept_count(0, len(pending), left, chance)
    until = pending[count].position if count < len(pending) else pending[-1].position + 1
    return (
        rebuilt(present, trace.changes, lambda change: change.durable),
        rebuilt(present, trace.changes, lambda one: one.durable or one.position < until),
    )


def rebuilt(present: bytes, changes: list[Record], holds: Callable[[Record], bool]) -> bytes:
    """The content with only those of `changes` that hold: all are undone, the last first, and
    those are done again."""
    content = bytearray(present)
    again = []
    for change in reversed(changes):
        end = change.offset + change.length
        if holds(change):
            data = b"" if change.kind == Kind.TRUNCATE else bytes(content[change.offset : end])
            again.append((change, data))
        _resize(content, change.old_size)
        at = change.length if change.kind == Kind.TRUNCATE else change.offset
        content[at : at + len(change.old)] = change.old
    for change, data in reversed(again):
        if change.kind == Kind.TRUNCATE:
            _resize(content, change.length)
        else:
            _resize(content, max(len(content), change.offset + len(data)))
            content[change.offset : change.offset + len(data)] = data
    return bytes(content)


def _resize(content: bytearray, size: int) -> None:
    if len(content) > size:
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _merged(durable: bytes, reached: bytes, size: int, chance: random.Random) -> bytes:
    """Each sector as in one of the two. A file that grew may be as long as it was to be, with zeros
    where its bytes did not come."""
    share = chance.random()
    content = bytearray(max(len(durable), len(reached)))
    content[: len(durable)] = durable
    end = (
        len(durable)
        if len(reached) >= len(durable)
        else chance.choice((len(durable), len(reached)))
    )
    for at in range(0, len(content), size):
        new = reached[at : at + size]
        if new != durable[at : at + size] and chance.random() < share:
            content[at : at + len(new)] = new
            end = max(end, at + len(new))
    if len(reached) > end and chance.random() < 0.5:
        end = len(reached)
    return bytes(content[:end])


# --- names ----------------------------------------------------------------------------------------


def _undo_name(record: Record) -> None:
    """Undoes one change of a name, unless the process was killed before it made it."""
    path, path2, kept = (Path(one) if one else None for one in record.paths)
    assert path is not None
    if record.kind in (Kind.CREATE, Kind.LINK):
        if _is(path, record.inode):
            path.unlink()
    elif record.kind == Kind.MKDIR:
        if _is(path, record.inode):
            left = {one.name for one in path.iterdir()} - UNSEEN
            assert not left, f"{path} still holds {left}"
            shutil.rmtree(path)
    elif record.kind == Kind.RMDIR:
        path.mkdir(exist_ok=True)
        above = path.parent.stat()
        os.chown(path, above.st_uid, above.st_gid)
    elif record.kind == Kind.UNLINK:
        assert kept is not None
        if kept.exists():
            kept.rename(path)
    elif path2 is not None and _is(path2, record.inode):
        path2.rename(path)
        if kept is not None:
            kept.rename(path2)


def _is(path: Path, inode: int) -> bool:
    return path.exists() and path.stat().st_ino == inode
