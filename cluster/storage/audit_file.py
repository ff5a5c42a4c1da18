"""What people did to a data folder by hand: one JSON line each, in a file that only grows."""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.storage.files import sync_directory

AUDIT_NAME = "audit.log"


def note_act(path: Path, act: str, **facts: Any) -> None:
    """Adds a line to the folder's file, durably: time, who, what. Raises OSError."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "act": act,
        "user": _user(),
        **facts,
    }
    with open(path / AUDIT_NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without the user's name
        return str(os.getuid())
