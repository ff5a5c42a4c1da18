"""Cluster time in the log: while a deadline is pending and nothing else is written, a mark now and
then, so that a restart of all nodes loses no more than that of the time that has passed."""

from __future__ import annotations

from taskq.commands import Advance
from taskq.machine.due import NEVER
from taskq.machine.machine import Machine

# The most cluster time that a restart of all nodes may lose.
MARK_MS = 10_000
# The smallest Advance: it is the entry's stamp that counts.
_MARK = Advance(1)


def propose(machine: Machine, elapsed_ms: int, wall_ms: int) -> Advance | None:
    """A mark, where the log's cluster time is old and something waits for it."""
    waits = machine.next_due()[0] != NEVER
    return _MARK if waits and elapsed_ms - machine.elapsed_ms >= MARK_MS else None


def wake_ms(machine: Machine, elapsed_ms: int, wall_ms: int) -> int:
    """How long until the log's cluster time is old."""
    if machine.next_due()[0] == NEVER:
        return MARK_MS
    return max(0, machine.elapsed_ms + MARK_MS - elapsed_ms)
