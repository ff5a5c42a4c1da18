"""When, of which commit and on what an experiment was made."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import Any

from chaos.record import commit


def stamp() -> dict[str, Any]:
    """When, on what, and of which commit. A priority of its own, on a machine that others use at
    the same time, is part of "on what"."""
    priority = os.nice(0)
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}"
        + (f", nice {priority}" if priority else ""),
    }
