"""Runs a node that believes what a file says about its free disk space: FREE_BYTES names it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from cluster.node import main


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def disk_usage(_: object) -> Usage:
    return Usage(2**40, 0, int(Path(os.environ["FREE_BYTES"]).read_text()))


if __name__ == "__main__":
    shutil.disk_usage = disk_usage  # type: ignore[assignment]
    main()
