"""What the pairs of a state hold, counted as they pass by: nothing is kept but counts.

The state counts its tasks, too (`Counters`): that both agree is the account of a backup.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from taskq.backup.file_format import NotWhole
from taskq.levels import LEVEL_FIRST
from taskq.machine import keys
from taskq.machine.counters import Counters
from taskq.machine.lease import lease_count
from taskq.machine.level import load_level
from taskq.machine.record import format_of, unpack
from taskq.machine.task import LEASED, READY, state_in
from taskq.pairs import unpack_pairs
from taskq.results import TaskState


@dataclass
class Contents:
    """Takes chunks in order. `pairs`, `queues`, `workers`: how many;
    `elapsed_ms`, `wall_ms`: the state's clocks; `level`: its feature level."""

    pairs: int = 0
    queues: int = 0
    workers: int = 0
    elapsed_ms: int = 0
    wall_ms: int = 0
    level: int = LEVEL_FIRST
    _heads: list[int] = field(default_factory=lambda: [0] * 9)
    _leases: int = 0
    _counters: Counters = field(default_factory=lambda: Counters(None))
    _last: bytes | None = None

    def add(self, chunk: bytes) -> None:
        """Counts a chunk. Raises NotWhole for pairs that no state holds."""
        try:
            pairs = unpack_pairs(chunk, self._last)
            for key, value in pairs:
                self._count(key, value)
        except (ValueError, LookupError, TypeError, AssertionError) as error:
            raise NotWhole(f"what was written is no state that can be read: {error}") from error
        self._last = pairs[-1][0]
        self.pairs += len(pairs)

    def _count(self, key: bytes, value: bytes) -> None:
        family = key[:1]
        if family == keys.TASK:
            self._heads[state_in(value)] += 1
        elif family == keys.CLAIM:
            self._leases += lease_count(value)
        elif family == keys.QUEUE:
            self.queues += 1
        elif family == keys.WORKER:
            self.workers += 1
        elif key == keys.COUNTERS:
            self._counters = Counters(value)
        elif key == keys.LEVEL:
            self.level = load_level(value)
        elif key == keys.CLOCKS:
            if format_of(value) != keys.FORMAT:
                raise NotWhole(
                    f"its records are of format {format_of(value)}, and this version reads format "
                    f"{keys.FORMAT}; use the version that wrote it"
                )
            self.elapsed_ms, self.wall_ms = unpack(value)[:2]

    @property
    def states(self) -> dict[str, int]:
        """Tasks by state, as they were counted here. A leased task's head says ready."""
        counts = list(self._heads)
        counts[READY] -= self._leases
        counts[LEASED] += self._leases
        return {state.name.lower(): counts[state] for state in TaskState}

    @property
    def tasks(self) -> int:
        """All of them."""
        return sum(self._heads)

    def check(self) -> None:
        """Raises NotWhole where the state's own counts are others."""
        own = {state.name.lower(): self._counters.states[state] for state in TaskState}
        if own != self.states:
            raise NotWhole(f"the state counts {own}, and {self.states} are there")
