"""What a data folder holds, read through the storage's own door: state, log, and a sum of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.storage.directory import DataDirectory
from cluster.storage.log_records import Entry
from taskq.machine.machine import Machine
from taskq.machine.view import MemoryView
from taskq.pairs import unpack_pairs
from tests.formats.work import QUESTIONS, told

CHUNK_SIZE = 1 << 20


@dataclass(frozen=True)
class Content:
    """`pairs`: the state's map at `index`; `entries`: the whole log."""

    index: int
    digest: int
    pairs: dict[bytes, bytes]
    entries: list[Entry]

    def sums(self) -> dict[str, Any]:
        """What is kept of it to compare with."""
        return {
            "index": self.index,
            "digest": self.digest,
            "pairs": _sum(*(part for pair in sorted(self.pairs.items()) for part in pair)),
            "entries": _sum(*(b"%d %d %b" % entry for entry in self.entries)),
        }

    def tasks(self) -> dict[str, Any]:
        """What a client hears of every task, by id."""
        view = MemoryView()
        for key, value in self.pairs.items():
            view.put(key, value)
        machine = Machine(view)
        answers = {one.task_id.hex(): machine.ask(one) for one in QUESTIONS}
        return {task: told(answer) for task, answer in answers.items()}


def _sum(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def content(folder: Path, node_id: str, *, member: bool) -> Content:
    """Opens the folder as a node does, and closes it. Raises the storage's errors."""
    with DataDirectory.open(folder, node_id) as directory:
        if member:
            stores = directory.open_member_stores(listed=True)
            assert not stores.loss, stores.loss
            log, state = stores.log, stores.state
        else:
            log, state = directory.open_stores()
        try:
            pairs: dict[bytes, bytes] = {}
            export = state.export()
            while chunk := export.read(CHUNK_SIZE):
                pairs.update(unpack_pairs(chunk, None))
            export.close()
            entries = log.read(log.first_index, log.last_index - log.first_index + 1)
            return Content(state.index, state.digest, pairs, entries)
        finally:
            log.close()
            state.close()
