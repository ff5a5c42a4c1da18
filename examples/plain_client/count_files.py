"""Counts the words of text files, by tasks that hold pieces of them.

    python count_files.py FILE...

Prints the ten most frequent words. Ends with 1 if a file could not be counted.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import taskq

# A payload may hold 1 MiB. Bytes.
PIECE_SIZE = 256 * 1024


def pieces(text: bytes, size: int = PIECE_SIZE) -> Iterator[bytes]:
    """A text in pieces of at most `size` bytes that end between words (or where a word is longer
    than a piece, in it)."""
    start = 0
    while len(text) - start > size:
        blank = max(text.rfind(b" ", start, start + size), text.rfind(b"\n", start, start + size))
        end = blank if blank > start else start + size
        yield text[start:end]
        start = end
    yield text[start:]


def count_words_of(client: taskq.Client, paths: list[str]) -> tuple[Counter[str], dict[str, str]]:
    """The counts over all files, and for each file that has none the reason.

    A task may run twice, but has one result: each piece is counted once.
    """
    whose, specs = [], []
    for path in paths:
        for number, piece in enumerate(pieces(Path(path).read_bytes())):
            whose.append(path)
            headers = {"file": Path(path).name, "piece": str(number)}
            # No retry: the same bytes fail the same way. A worker that dies is another matter, and
            # its tasks run again all the same.
            spec = taskq.TaskSpec(queue="words", payload=piece, headers=headers, max_retries=0)
            specs.append(spec)
    counts: dict[str, Counter[str]] = {path: Counter() for path in paths}
    failed: dict[str, str] = {}
    # `retry_full`: where the broker is full, wait until workers have made room.
    for path, handle in zip(whose, client.submit_many(specs, retry_full=True), strict=True):
        if isinstance(handle, taskq.TaskqError):
            failed[path] = str(handle)
            continue
        try:
            counts[path].update(json.loads(handle.result() or b"{}"))
        except taskq.TaskError as error:
            failed[path] = error.message.splitlines()[-1]
    total: Counter[str] = Counter()
    for path in counts.keys() - failed.keys():
        total.update(counts[path])
    return total, failed


def main() -> int:
    with taskq.Client() as client:
        total, failed = count_words_of(client, sys.argv[1:])
    for word, count in sorted(total.items(), key=lambda one: (-one[1], one[0]))[:10]:
        print(f"{count:8} {word}")
    print(f"{total.total()} words in {len(sys.argv) - 1 - len(failed)} files")
    for path, reason in failed.items():
        print(f"{path}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
