"""Retention: drops ended tasks and dead letters past their age or over their byte limits.

Dead letters that go are work that somebody may still want: `warning` says so before it happens.
"""

from __future__ import annotations

from taskq.commands import GetStats, Retain
from taskq.machine.machine import Machine

# However far away the next end is, look again after so long.
LOOK_MS = 60_000
# Ends are collected: what ended a moment later is dropped together with what is due now.
COLLECT_MS = 1_000
# So long before the oldest dead letter is past its age, people are warned.
WARN_MS = 86_400_000
# From this share of the byte limit of dead letters on, people are warned.
WARN_PERCENT = 80


def propose(machine: Machine, elapsed_ms: int, wall_ms: int) -> Retain | None:
    """A `Retain` where something is past its age or a byte limit is exceeded."""
    due_ms, over = machine.next_retention()
    return Retain() if over or due_ms + COLLECT_MS <= wall_ms else None


def wake_ms(machine: Machine, elapsed_ms: int, wall_ms: int) -> int:
    """How long until something is due; at most `LOOK_MS`."""
    due_ms, over = machine.next_retention()
    return 0 if over else max(0, min(due_ms + COLLECT_MS - wall_ms, LOOK_MS))


def warning(machine: Machine) -> str:
    """What people should know about dead letters, or ""."""
    size, size_max = machine.ask(GetStats()).dead_size, machine.settings.dead_size_max
    if size > size_max:
        return "dead letters exceed dead_letter_max_bytes: the oldest are dropped"
    if size * 100 >= size_max * WARN_PERCENT:
        return f"dead letters take {WARN_PERCENT} % of dead_letter_max_bytes: beyond, they go"
    if machine.next_dead_drop_ms() - machine.wall_ms <= WARN_MS:
        return "the oldest dead letters reach dead_letter_retention_days within a day, then they go"
    return ""
