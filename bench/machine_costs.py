"""What applying costs a node: microseconds of CPU per life cycle and step, best of several passes.

    python -m bench.machine_costs [--passes 15] [--cycles 10000] [--single] [--disk]
                                 [--profile STEP]

Entries are as the driver makes them under load: batches of 100 tasks of 100 bytes, or with --single
submits and completions one by one and claims of 10; about 256 tasks to an entry, entries a few
milliseconds apart; results of 20 bytes. They run through the machine over the real overlay, whose
layers go to a dictionary or, with --disk, to LevelDB, once per pass. An entry holds commands of one
kind, so that steps can be told apart, and 2,000 tasks wait or run at most. CPU is that of the
thread: other processes disturb it little, and what they disturb is left out with all passes but
the best.

    decode     what the steps spend on `decode_entry` (part of them)
    answer     what only the leader does: payloads for the workers' replies
    write      freezing a layer and writing it (in an executor of its own on a node)
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import gc
import json
import pstats
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from cluster.node import GC_THRESHOLDS
from cluster.replication.overlay import Overlay
from cluster.storage.state_store import StateStore
from taskq import commands
from taskq.client.identifier import new_task_id
from taskq.errors import Refusal
from taskq.machine.entry import decode_entry, encode_entry
from taskq.machine.machine import Machine
from taskq.results import BatchReply, Claimed

BATCH = 100
CLAIM_COUNT = 10  # with --single
TASKS_PER_ENTRY = 200
OPEN_COUNT = 2_000
STEP_MS = 4  # between two entries
PAYLOAD, RESULT = b"x" * 100, b"r" * 20
WORKER = b"w" * 16
STEPS = ("submit", "claim", "complete")

Step = tuple[str, bytes]


class Layers(Protocol):
    """What takes the overlay's layers."""

    def get(self, key: bytes) -> bytes | None: ...
    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]: ...
    def iterate(
        self, prefix: bytes = b"", start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]: ...
    def write(
        self, changes: dict[bytes, bytes | None], index: int, terms: Any, digest: int
    ) -> None: ...


class Dictionary:
    """A store in memory."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.get = self.values.get

    def get_many(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in wanted]

    def iterate(
        self, prefix: bytes = b"", start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        low = max(prefix, start or b"")
        keys = sorted(key for key in self.values if key >= low and key.startswith(prefix))
        return ((key, self.values[key]) for key in keys)

    def write(
        self, changes: dict[bytes, bytes | None], index: int, terms: Any, digest: int
    ) -> None:
        for key, value in changes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value


class Load:
    """Makes the entries; ids, tokens and claim numbers go on from pass to pass."""

    def __init__(self, *, single: bool) -> None:
        self._single = single
        self._elapsed = 1
        self._token = self._claim = 0

    def entries(self, cycles: int) -> Iterator[Step]:
        """(step, entry) of `cycles` whole life cycles."""
        for _ in range(cycles // OPEN_COUNT):
            ids = [new_task_id() for _ in range(OPEN_COUNT)]
            parts = [ids[at : at + TASKS_PER_ENTRY] for at in range(0, len(ids), TASKS_PER_ENTRY)]
            for name, make in zip(STEPS, (self._submit, self._take, self._complete), strict=True):
                for part in parts:
                    yield name, self._entry(make(part))

    def _submit(self, ids: list[bytes]) -> list[Any]:
        tasks = [commands.SubmitTask(task_id, "q", "f", PAYLOAD) for task_id in ids]
        return tasks if self._single else [commands.SubmitTasks(part) for part in _cut(tasks)]

    def _take(self, ids: list[bytes]) -> list[Any]:
        made = []
        count = CLAIM_COUNT if self._single else BATCH
        for _ in range(len(ids) // count):
            self._claim += 1
            floor = max(1, self._claim - 2)
            made.append(commands.ClaimTask(WORKER, self._claim, floor, ["q"], count))
        return made

    def _complete(self, ids: list[bytes]) -> list[Any]:
        outcomes = []
        for task_id in ids:
            self._token += 1
            outcomes.append(commands.TaskResult(task_id, self._token, True, RESULT))
        return outcomes if self._single else [commands.TaskResults(part) for part in _cut(outcomes)]

    def _entry(self, made: list[Any]) -> bytes:
        self._elapsed += STEP_MS
        return encode_entry(self._elapsed, 1_700_000_000_000 + self._elapsed, made)


def _cut(many: list[Any]) -> list[list[Any]]:
    return [many[start : start + BATCH] for start in range(0, len(many), BATCH)]


class Node:
    """Machine and overlay over a store."""

    def __init__(self, store: Layers) -> None:
        self._store = store
        self._overlay = Overlay(store)
        self.machine = Machine(self._overlay)
        self._index = 0
        settings = commands.Configure({"max_batch_claim": BATCH})
        self.machine.apply(encode_entry(0, 0, [settings]))

    def run(self, steps: list[Step], profile: cProfile.Profile, only: str) -> dict[str, int]:
        """Nanoseconds by step."""
        clock = time.thread_time_ns
        spent = dict.fromkeys(("decode", "answer", "write"), 0)
        for name, entry in steps:
            start = clock()
            decode_entry(entry)
            decoded = clock()
            spent["decode"] += decoded - start
            if name == only:
                profile.enable()
            start = clock()
            applied = self.machine.apply(entry)
            self._overlay.take_digest()
            done = clock()
            profile.disable()
            spent[name] = spent.get(name, 0) + done - start
            start = clock()
            replies = [self.machine.reply(result) for result in applied.results]
            spent["answer"] += clock() - start
            _check(replies)
            self._index += 1
        start = clock()
        self._store.write(self._overlay.begin_write(), self._index, (1, 1), 0)
        self._overlay.end_write()
        spent["write"] = clock() - start
        return spent


def _check(replies: list[Any]) -> None:
    for reply in replies:
        assert not isinstance(reply, Refusal), reply
        if isinstance(reply, Claimed):
            assert len(reply.tasks) == reply.max_tasks
        elif isinstance(reply, BatchReply):
            assert all(good for good, _ in reply.answers), reply


@contextlib.contextmanager
def opened(*, disk: bool) -> Iterator[Layers]:
    """A store to write to."""
    if not disk:
        yield Dictionary()
        return
    with tempfile.TemporaryDirectory() as directory:
        store = StateStore.open(Path(directory) / "state")
        yield store
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--disk", action="store_true", help="LevelDB instead of a dictionary")
    parser.add_argument("--single", action="store_true", help="one by one, and claims of 10")
    parser.add_argument("--profile", default="", metavar="STEP", help="where a step's time goes")
    given = parser.parse_args()
    gc.set_threshold(*GC_THRESHOLDS)
    load, profile = Load(single=given.single), cProfile.Profile()
    best: dict[str, int] = {}
    with opened(disk=given.disk) as store:
        node = Node(store)
        for _ in range(given.passes):
            spent = node.run(list(load.entries(given.cycles)), profile, given.profile)
            best = {name: min(ns, best.get(name, ns)) for name, ns in spent.items()}
    costs = {name: round(ns / given.cycles / 1000, 2) for name, ns in best.items()}
    costs["apply"] = round(sum(costs.get(name, 0.0) for name in STEPS), 2)
    for name, cost in costs.items():
        print(f"{name:>10} {cost:8.2f} us per life cycle")
    if given.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    print(json.dumps({"machine_costs": costs}))


if __name__ == "__main__":
    main()
