"""Who may start when (P5), seen at each entry's first application.

A scheduled task is not given out before its moment in the log's time. Of tasks that waited without
a break since their submit, the one that a claim leaves behind may not be before one that it took:
by priority, then by order; in a queue that ages, by the moment of the submit plus what its priority
is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chaos.sim.tasks import AGEING_MS
from taskq.commands import ClaimTask, Heartbeat, ListTasks, RegisterWorker, SubmitTask
from taskq.errors import Refusal
from taskq.machine.claim import Granted
from taskq.machine.machine import Machine
from taskq.results import TaskState

# Entries of nothing else leave no task ready that was not before.
_QUIET = (ClaimTask, Heartbeat, RegisterWorker)


class Submitted(NamedTuple):
    """A task's submit: its place in the queue (the smallest is next; None where it did not wait
    there from the submit on), and when it is due."""

    queue: str
    place: tuple[int, int] | None
    due_elapsed_ms: int
    due_wall_ms: int


class Order:
    """See the module. `violate(text)` is told what must not be."""

    def __init__(self, violate: Callable[[str], None]) -> None:
        self._violate = violate
        self._submits: dict[bytes, Submitted] = {}
        self._given: set[bytes] = set()
        self.compared = 0  # claims after which what is left was looked at

    def applied(
        self, machine: Machine, elapsed: int, wall: int, commands: list[Any], results: Any
    ) -> None:
        """An entry was applied to `machine`; both times in ms."""
        taken: list[bytes] = []
        for command, result in zip(commands, results, strict=True):
            if isinstance(command, SubmitTask) and not isinstance(result, Refusal):
                self._submit(command, elapsed)
            elif isinstance(result, Granted):
                for task, _ in result.tasks:
                    self._start(task.id, elapsed, wall)
                    if task.id not in self._given:
                        taken.append(task.id)
                self._given.update(task.id for task, _ in result.tasks)
        if taken and all(isinstance(command, _QUIET) for command in commands):
            self._compare(machine, taken)

    def _submit(self, command: SubmitTask, elapsed: int) -> None:
        assert command.id is not None
        if command.id in self._submits:
            return
        rank, ageing = 255 - command.priority, AGEING_MS[command.queue]
        if ageing:
            rank = elapsed + rank * ageing
        due = elapsed + command.delay_ms if command.delay_ms else 0
        due_wall = command.run_at_wall_ms or 0
        waits = not (due or due_wall or command.ttl_ms)
        place = (rank, len(self._submits)) if waits else None
        self._submits[command.id] = Submitted(command.queue, place, due, due_wall)

    def _start(self, task_id: bytes, elapsed: int, wall: int) -> None:
        known = self._submits[task_id]
        if elapsed < known.due_elapsed_ms or wall < known.due_wall_ms:
            self._violate(
                f"P5: task {task_id.hex()} given out at {elapsed} ms, wall {wall}, due at"
                f" {known.due_elapsed_ms}, wall {known.due_wall_ms}"
            )

    def _compare(self, machine: Machine, taken: list[bytes]) -> None:
        self.compared += 1
        for queue in sorted(AGEING_MS):
            ours = [task for task in taken if self._place(task, queue)]
            if not ours:
                continue
            last = max(ours, key=lambda task: self._place(task, queue))
            page = machine.ask(ListTasks(queue, int(TaskState.READY), limit=1000))
            for view in page.tasks:
                other = view[0]
                place = None if other in self._given else self._place(other, queue)
                if place and place < self._place(last, queue):
                    self._violate(
                        f"P5: task {last.hex()} was taken, and {other.hex()} comes before it"
                    )

    def _place(self, task_id: bytes, queue: str) -> tuple[int, ...]:
        """() where it is of another queue or has none."""
        known = self._submits[task_id]
        return known.place if known.queue == queue and known.place else ()
