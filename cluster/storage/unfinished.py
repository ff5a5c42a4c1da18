"""The mark of a folder that is being made or changed as a whole: nobody opens it meanwhile.

    put --> steps, in any order --> remove       killed between: `refuse_unfinished` says what to do

Written first and removed last, both synced, so that a crash anywhere leaves a folder that is either
as it should be or refused.
"""

from __future__ import annotations

from pathlib import Path

from cluster.storage.errors import Unfinished
from cluster.storage.files import sync_directory, write_whole

MARK_NAME = "unfinished"


def put_mark(path: Path, act: str, remedy: str) -> None:
    """From here on the folder at `path` is refused. `act`, `remedy`: parts of a sentence. Raises
    OSError."""
    write_whole(path / MARK_NAME, f"{act}\n{remedy}\n".encode())


def remove_mark(path: Path) -> None:
    """It is done; all of it is on the disk. Raises OSError."""
    (path / MARK_NAME).unlink()
    sync_directory(path)


def marked(path: Path) -> str:
    """What was being done to the folder; "" where nothing was. Raises OSError."""
    try:
        return (path / MARK_NAME).read_text("utf-8").partition("\n")[0]
    except FileNotFoundError:
        return ""


def refuse_unfinished(path: Path) -> None:
    """Raises Unfinished for a folder with a mark, and OSError."""
    act = marked(path)
    if act:
        remedy = (path / MARK_NAME).read_text("utf-8").splitlines()[1:]
        raise Unfinished(f"{act} of {path} did not come to its end: {' '.join(remedy)}")
