"""Entries that this node leaves out, because an operator said so (A14): the file `skip.json`.

The last resort where an entry stops every node and no version can apply it. Each is named by index
and checksum, so that nothing else is ever left out. `skipping.py` is how it is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.storage.errors import DataDamaged, NewerFormat
from cluster.storage.files import write_whole

SKIPS_FORMAT = 1
SKIPS_NAME = "skip.json"


def read_skips(path: Path) -> dict[int, int]:
    """Index -> checksum of the entries that the node with this folder leaves out.

    Raises DataDamaged, NewerFormat."""
    file = path / SKIPS_NAME
    try:
        body = json.loads(file.read_bytes())
        version = body["format"]
        if isinstance(version, int) and version > SKIPS_FORMAT:
            raise NewerFormat(file, version, SKIPS_FORMAT)
        return {int(index): int(checksum) for index, checksum in body["skips"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataDamaged(file, f"the list of entries to skip is unreadable ({error})") from error


def write_skips(path: Path, skips: Mapping[int, int]) -> None:
    """Writes the file whole, durably. Raises OSError."""
    body: dict[str, Any] = {
        "format": SKIPS_FORMAT,
        "skips": {str(index): checksum for index, checksum in sorted(skips.items())},
    }
    write_whole(path / SKIPS_NAME, json.dumps(body, indent=2).encode() + b"\n")
