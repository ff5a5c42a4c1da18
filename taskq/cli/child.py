"""What `taskq up` and `taskq demo` start: entry points of child processes.

Called by `process.py` in a fresh interpreter, with the path of the parent's modules.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence

from taskq.worker.parent import end_with_parent


def broker(parent_pid: int, arguments: Sequence[str], scratch: str) -> None:
    """A node that ends with its parent. `scratch` is a folder that goes where the parent was
    killed and cannot remove it itself; empty: none."""
    end_with_parent(parent_pid, signal.SIGTERM)
    sys.argv = ["tq-broker", *arguments]
    try:
        from cluster.node import main

        main()
    finally:
        if scratch and os.getppid() != parent_pid:
            shutil.rmtree(scratch, ignore_errors=True)


def command_line(parent_pid: int, arguments: Sequence[str], _: str) -> None:
    """`taskq ...` that ends with its parent."""
    end_with_parent(parent_pid, signal.SIGTERM)
    from taskq.cli.main import run

    sys.exit(run(arguments))
