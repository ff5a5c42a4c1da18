"""Runs the scripts: each as it is, and with the machine built anew after every command.

`python -m tests.unit.test_scripts --rewrite [names]` writes what the machine says into the scripts,
for the author to read line by line.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from taskq import commands
from taskq.machine import advance, claim, ending, outcome, queue, ready, schedule, submit, worker
from taskq.machine.machine import HANDLERS
from taskq.machine.task import MOVES, NEW, Task, move
from taskq.results import TaskState
from tests.unit.machine.script import Script, parse, write

FOLDER = Path(__file__).parent / "scripts"
SCRIPTS = sorted(FOLDER.glob("*.txt"))
# Limits that a script may lower, so that it can reach them: name -> where they are read.
LIMITS: dict[str, list[tuple[Any, str]]] = {
    "queues": [(queue, "QUEUE_COUNT_MAX")],
    "workers": [(worker, "WORKER_COUNT_MAX")],
    "claims": [(claim, "CLAIMS_REMEMBERED_MAX")],
    "leases": [(claim, "LEASES_PER_WORKER_MAX")],
    "released": [(advance, "ADVANCE_LIMIT")],
    "content": [(outcome, "CONTENT_SIZE_MAX"), (submit, "CONTENT_SIZE_MAX")],
    "frame": [(claim, "FRAME_SIZE_MAX")],
    "margin": [(claim, "FRAME_MARGIN")],
    "expired": [(claim, "_EXPIRED_MAX")],
    "error": [(ending, "ERROR_SIZE_MAX")],
    "refill": [(ready, "REFILL_COUNT")],
    "first": [(ready, "FIRST_COUNT")],
    "windows": [(ready, "TOTAL_COUNT")],
}


def _limiter(monkeypatch: pytest.MonkeyPatch) -> Any:
    def limit(name: str, value: int) -> None:
        for module, attribute in LIMITS[name]:
            monkeypatch.setattr(module, attribute, value)

    return limit


def run(path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Script:
    """Runs a script and compares what it says, block by block."""
    script = Script(limit=_limiter(monkeypatch), **options)
    for block in parse(path.read_text("utf-8")):
        said = script.run(block.lines)
        assert said == block.expected, f"{path.name}:{block.line_number}: {block.lines}"
    return script


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = run(path, monkeypatch)
    monkeypatch.undo()
    restarted = run(path, monkeypatch, restarting=True)
    assert restarted.view.values == straight.view.values


def test_scripts_are_written_as_the_writer_writes_them() -> None:
    assert len(SCRIPTS) > 15
    for path in SCRIPTS:
        text = path.read_text("utf-8")
        assert write(parse(text)) == text, f"{path.name}: rewrite it"


class Seen:
    """What the scripts did: moves made, moves tried, commands used."""

    def __init__(self) -> None:
        self.moves: set[tuple[int, int]] = set()
        self.tried: set[tuple[int, int]] = set()
        self.commands: set[type] = set()

    def move(self, state: Any, task: Task, to: int) -> None:
        """Stands in for `task.move`."""
        self.moves.add((task.state, to))
        move(state, task, to)

    def watch(self, tasks: dict[bytes, Task], command: Any) -> None:
        """A command is about to run."""
        self.commands.add(type(command))
        if isinstance(command, commands.SubmitTasks):
            return
        if isinstance(command, commands.TaskResults):
            return
        for state, to in _intents(tasks, command):
            self.tried.add((state, to))


def _intents(tasks: dict[bytes, Task], command: Any) -> list[tuple[int, int]]:
    """(state of a task that the command is about, state that the command would bring it to)."""

    def state_of(task_id: bytes | None) -> int:
        return tasks[task_id].state if task_id in tasks else NEW

    match command:
        case commands.SubmitTask():
            later = command.delay_ms or command.run_at_wall_ms
            to = TaskState.SCHEDULED if later else TaskState.READY
            return [(state_of(command.id), to)]
        case commands.ClaimTask():
            found = [t.state for t in tasks.values() if t.queue in command.queues]
            return [(state, TaskState.LEASED) for state in found or [NEW]]
        case commands.TaskResult():
            failed = TaskState.RETRYING if command.retry else TaskState.DEAD
            return [(state_of(command.task_id), TaskState.COMPLETED if command.ok else failed)]
        case commands.Ack():
            return [(state_of(command.task_id), TaskState.COMPLETED)]
        case commands.Nack():
            later = command.delay_ms or command.unknown_task
            to = TaskState.SCHEDULED if later else TaskState.READY
            return [(state_of(command.task_id), to)]
        case commands.CancelTask():
            return [(state_of(command.task_id), TaskState.CANCELLED)]
        case commands.PurgeQueue():
            found = [t.state for t in tasks.values() if t.queue == command.queue]
            return [(state, TaskState.CANCELLED) for state in found]
        case commands.RedriveDead():
            return [(state_of(task_id), TaskState.READY) for task_id in command.task_ids]
        case commands.Advance():
            # TTLs are acted upon here: one that had a TTL must stay what it is.
            found = [t.state for t in tasks.values() if t.ttl_left >= 0]
            return [(state, TaskState.EXPIRED) for state in found or [NEW]]
    return []


def test_scripts_make_every_legal_move_and_try_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    for path in SCRIPTS:
        for module in (ready, claim, ending, schedule):
            monkeypatch.setattr(module, "move", seen.move)
        run(path, monkeypatch, watch=seen.watch)
        monkeypatch.undo()
    legal = {(origin, to) for origin, targets in MOVES.items() for to in targets}
    assert seen.moves == legal
    every = {(origin, to.value) for origin in MOVES for to in TaskState}
    # A state is a value of the table; `tried` holds members of the enum, which are equal to it.
    assert every - legal - {(origin, int(to)) for origin, to in seen.tried} == set()
    assert seen.commands == set(HANDLERS)


def _rewrite(names: list[str]) -> None:
    for path in SCRIPTS:
        if names and path.stem not in names:
            continue
        with pytest.MonkeyPatch.context() as monkeypatch:
            script = Script(limit=_limiter(monkeypatch))
            blocks = parse(path.read_text("utf-8"))
            for block in blocks:
                try:
                    block.expected = script.run(block.lines)
                except Exception as error:
                    raise RuntimeError(f"{path.name}:{block.line_number}") from error
            path.write_text(write(blocks), "utf-8")


if __name__ == "__main__":
    assert "--rewrite" in sys.argv, __doc__
    _rewrite([name for name in sys.argv[1:] if name != "--rewrite"])
