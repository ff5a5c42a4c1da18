"""Tomorrow's version: today's sources with a later number, feature level 2, and what came with it.

    1  what today's version does
    2  ResumeQueue of a queue that does not exist is fine (an outcome that changed);
       MarkQueue, which writes a record of a new kind (an entry that today's version cannot read);
       and GetStats says one thing more (a field that today's clients do not know)

`python -m tests.builds.tomorrow FOLDER` makes it, for `chaos.live.upgrade`, or to be tried by hand
(docs/operations/upgrade.md).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = "0.2.0.dev0"
LEVEL = 2

MARK_QUEUE = '''
@message(0x3F, Sort.COMMAND, role=Role.ADMIN, reply=Done, since=2)
class MarkQueue(NamedTuple):
    """Writes when the queue was marked."""

    queue: QueueName


# --- dead letters ---'''

# (file, what is there, what takes its place): each is there once.
CHANGES = (
    ("taskq/levels.py", 'FEATURES = {1: "the first version"}', 'FEATURES = {1: "", 2: "marks"}'),
    ("taskq/commands.py", "\n# --- dead letters ---", MARK_QUEUE),
    (
        "taskq/machine/queue.py",
        "    done = _set_paused(state, command.queue, paused=False)\n",
        "    if state.runs(2) and state.queues.find(command.queue) is None:\n"
        "        return Done()\n"
        "    done = _set_paused(state, command.queue, paused=False)\n",
    ),
    (
        "taskq/machine/machine.py",
        "    commands.Retain: retain,\n",
        "    commands.Retain: retain,\n    commands.MarkQueue: mark_queue,\n",
    ),
    (
        "taskq/machine/machine.py",
        "\nHandler = Callable",
        "\nfrom taskq.machine.queue import mark_queue\n\nHandler = Callable",
    ),
    (
        "taskq/machine/queue.py",
        "def pause_queue(",
        "def mark_queue(state: State, command: Any) -> Done:\n"
        "    state.view.put(b'j' + command.queue.encode(), pack(state.elapsed))\n"
        "    return Done()\n\n\n"
        "def pause_queue(",
    ),
    (
        "taskq/results.py",
        "    term: Count\n    applied_index: Count\n",
        "    term: Count\n    applied_index: Count\n    later: Count = 7\n",
    ),
)
METADATA = f"Metadata-Version: 2.1\nName: taskq-cluster\nVersion: {VERSION}\n"


def make(folder: Path) -> Path:
    """Writes that version to `folder`, new; see `chaos.live.upgrade.environment`.

    Raises AssertionError where the sources are no longer what is changed here.
    """
    folder.mkdir(parents=True)
    for package in ("taskq", "cluster"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for name, before, after in CHANGES:
        path = folder / name
        text = path.read_text("utf-8")
        count = text.count(before)
        assert name.endswith("results.py") or count == 1, f"{name}: {count} times {before!r}"
        place = text.rindex(before)
        path.write_text(text[:place] + after + text[place + len(before) :], "utf-8")
    info = folder / f"taskq_cluster-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA, "utf-8")
    return folder


if __name__ == "__main__":
    sys.stdout.write(f"{make(Path(sys.argv[1]))}\n")
