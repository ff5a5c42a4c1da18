"""Files that hold a secret."""

from __future__ import annotations

import os
from pathlib import Path

# For its owner alone.
MODE = 0o600


def write_private(path: Path, content: bytes) -> None:
    """Makes a new file that nobody else may read. Raises FileExistsError where there is one: it may
    hold another secret; OSError."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:
        file.write(content)
