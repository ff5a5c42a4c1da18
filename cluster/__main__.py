"""`python -m cluster` and `tq-broker`: so light that Ctrl-C works while the rest is imported.

Python turns SIGINT into an exception, which is lost when it comes at certain moments of an import;
until the node has its own handlers, the signal simply ends the process.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Runs one broker node; see `cluster/node.py`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from cluster import node
    except ImportError as error:
        hint = "install the broker: pip install 'taskq-cluster[broker]'"
        sys.exit(f"tq-broker: {error}; {hint}")
    node.main()


if __name__ == "__main__":
    main()
