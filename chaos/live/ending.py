"""How an experiment on a cluster ends: its row kept and printed, its folders kept if it failed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.record import append


def finish(
    name: str, row: Mapping[str, Any], violations: Sequence[str], home: Path, *, keep: bool
) -> None:
    """Prints the row and, with `keep`, adds it to results/`name`.jsonl. Exits with 1, and keeps the
    folders in `home`, where a promise was broken."""
    if keep:
        append(name, row)
    print(json.dumps(row, sort_keys=True))
    for line in violations:
        print(line, file=sys.stderr)
    if violations:
        print(f"The folders are kept in {home}.", file=sys.stderr)
        sys.exit(1)
    shutil.rmtree(home, ignore_errors=True)
