"""The worker as a program of yours: `python worker.py`. Ctrl-C lets running tasks end.

The same from the command line: `taskq worker words:count_words --queue words --concurrency 2`.
"""

from __future__ import annotations

import logging

import taskq


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    worker = taskq.Worker(None, "words:count_words", "words", concurrency=2)
    worker.run()
    print(f"{worker.counts['completed']} completed, {worker.counts['failed']} failed")


if __name__ == "__main__":
    main()
