"""Submits a folder of pictures, shows how far they are, and names those that failed.

    python make_thumbnails.py PICTURES THUMBNAILS [--side 200]

Ends with 0 if every picture has a thumbnail, with 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from thumbnails import app, make_thumbnail

import taskq

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def pictures_in(folder: Path) -> list[Path]:
    """Every picture below a folder, by its suffix."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def thumbnails_of(
    found: Sequence[Path], pictures: Path, thumbnails: Path, side: int
) -> Iterator[dict[str, int] | taskq.TaskqError]:
    """For each picture found, in order and once its task has ended: the size of its thumbnail, or
    why there is none. Folders below `pictures` are found again below `thumbnails`."""
    # The worker may run in another folder, so it gets whole paths.
    specs = [
        make_thumbnail.spec(
            str(path.resolve()),
            str((thumbnails / path.relative_to(pictures)).resolve()),
            side,
        )
        for path in found
    ]
    for handle in app.submit_many(specs):
        if isinstance(handle, taskq.TaskqError):  # not accepted, for instance a full queue
            yield handle
            continue
        try:
            yield handle.result()
        except taskq.TaskError as error:
            yield error


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes thumbnails of a folder of pictures.")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("thumbnails", type=Path)
    parser.add_argument("--side", type=int, default=200, help="at most so many pixels")
    arguments = parser.parse_args()

    found = pictures_in(arguments.pictures)
    outcomes = thumbnails_of(found, arguments.pictures, arguments.thumbnails, arguments.side)
    failed = 0
    for number, (path, outcome) in enumerate(zip(found, outcomes, strict=True), 1):
        if isinstance(outcome, taskq.TaskqError):
            failed += 1
            reason = str(outcome).splitlines()[-1]  # the line that ends the worker's traceback
            print(f"[{number}/{len(found)}] {path}: {reason}", file=sys.stderr)
        else:
            print(f"[{number}/{len(found)}] {path}: {outcome['width']} x {outcome['height']}")
    print(f"{len(found) - failed} thumbnails, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
