"""The work of `taskq demo`: lines, words and bytes of files; and the same without the queue."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

# Packages that others installed beside the standard library are not part of it.
_NOT_OURS = {"site-packages", "dist-packages", "__pycache__"}


class Totals(NamedTuple):
    """Counts over files."""

    files: int = 0
    lines: int = 0
    words: int = 0
    bytes: int = 0

    def plus(self, counts: dict[str, int]) -> Totals:
        """With the counts of one more file."""
        return Totals(
            self.files + 1,
            self.lines + counts["lines"],
            self.words + counts["words"],
            self.bytes + counts["bytes"],
        )


def count_file(path: str) -> dict[str, int]:
    """What the demo's worker runs: lines, words and bytes of one file."""
    content = Path(path).read_bytes()
    unended = bool(content) and not content.endswith(b"\n")
    return {
        "lines": content.count(b"\n") + unended,
        "words": len(content.split()),
        "bytes": len(content),
    }


def count_directly(paths: Iterable[str]) -> Totals:
    """The same counts by other means: line by line, in this process."""
    files = lines = words = size = 0
    for path in paths:
        files += 1
        with open(path, "rb") as file:
            for line in file:
                lines += 1
                words += len(line.split())
                size += len(line)
    return Totals(files, lines, words, size)


def standard_library() -> list[str]:
    """The Python files of the running interpreter's standard library, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(
        str(path)
        for path in root.rglob("*.py")
        if not _NOT_OURS.intersection(path.relative_to(root).parts) and path.is_file()
    )
