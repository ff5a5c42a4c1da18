"""Deadlines: ended leases, dead workers, schedules, retry delays, TTLs.

One duty, because one `Advance` acts on all of them in a fixed order: a lease and its worker that
end together must count once.
"""

from __future__ import annotations

from taskq.commands import Advance
from taskq.machine.machine import Machine

# However far away the next deadline is, look again after so long.
LOOK_MS = 10_000


def propose(machine: Machine, elapsed_ms: int, wall_ms: int) -> Advance | None:
    """An `Advance` where something is due by cluster time or by wall time."""
    by_elapsed, by_wall = machine.next_due()
    return Advance() if by_elapsed <= elapsed_ms or by_wall <= wall_ms else None


def wake_ms(machine: Machine, elapsed_ms: int, wall_ms: int) -> int:
    """How long until something is due; at most `LOOK_MS`."""
    by_elapsed, by_wall = machine.next_due()
    return max(0, min(by_elapsed - elapsed_ms, by_wall - wall_ms, LOOK_MS))
