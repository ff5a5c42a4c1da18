"""The wires between machines: who reaches whom, how fast, and what breaks.

Each direction between two machines is a `Wire` of its own, so that partitions may be one-way. A
connection needs both directions; bytes that a partition holds up are late, as TCP makes them, or
lost with their connection.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.sim.world import World

if TYPE_CHECKING:
    from chaos.sim.network import SimNetwork

DELAY_SECS = (0.0001, 0.0006)
# Bytes per second of a wire that nothing slows down.
BANDWIDTH = 200e6
# How late bytes are that were sent again after a partition.
RESEND_SECS = (0.01, 0.4)


@dataclass(slots=True)
class Wire:
    """One direction. `slow`: factor on delay and transfer time; `cut`: nothing gets through.

    `held`: what a partition holds up; it is sent again at `clear_at`, before anything newer.
    """

    slow: float = 1.0
    cut: bool = False
    clear_at: float = 0.0
    held: list[Callable[[], object]] = field(default_factory=list)


class Fabric:
    """All wires, and the networks that listen at addresses."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._wires: dict[tuple[str, str], Wire] = {}
        self._chances: dict[tuple[str, str], random.Random] = {}
        self.listening: dict[str, SimNetwork] = {}  # address -> who listens there
        self.machine_of: dict[str, str] = {}  # address -> machine, for addresses of the dead
        self.off: set[str] = set()  # machines without power: nobody answers, nobody refuses

    def wire(self, source: str, target: str) -> Wire:
        """The direction from one machine to another."""
        return self._wires.setdefault((source, target), Wire())

    def chance(self, source: str, target: str) -> random.Random:
        """The generator of that direction."""
        pair = (source, target)
        if pair not in self._chances:
            self._chances[pair] = self.world.generator("wire", *pair)
        return self._chances[pair]

    def delay(self, source: str, target: str, size: int = 0) -> float:
        """Seconds that so many bytes take, as drawn now."""
        slow = self.wire(source, target).slow
        return (self.chance(source, target).uniform(*DELAY_SECS) + size / BANDWIDTH) * slow

    def carry(
        self, source: str, target: str, arrives: float, deliver: Callable[[], object]
    ) -> None:
        """Delivers at `arrives`, or some time after the partition that holds it up is over."""

        def arrive() -> None:
            wire = self.wire(source, target)
            if wire.cut or self.world.now < wire.clear_at:
                wire.held.append(deliver)
            else:
                deliver()

        self.world.at(arrives, arrive)

    def cut(self, source: str, target: str) -> None:
        """Nothing gets through in this direction from now on."""
        self.wire(source, target).cut = True

    def heal(self, source: str, target: str, *, quickly: bool = False) -> None:
        """What was held up is sent again, in order."""
        wire = self.wire(source, target)
        if not wire.cut:
            return
        wire.cut = False
        late = self.chance(source, target).uniform(*RESEND_SECS)
        wire.clear_at = self.world.now + (RESEND_SECS[0] if quickly else late)
        self.world.at(wire.clear_at, self._send_again, wire)

    def _send_again(self, wire: Wire) -> None:
        if wire.cut or self.world.now < wire.clear_at:
            return  # cut again meanwhile: it waits for the next time
        held, wire.held = wire.held, []
        for deliver in held:
            deliver()

    def heal_all(self) -> None:
        """Every wire is as good as new."""
        for source, target in sorted(self._wires):
            self.heal(source, target)
            self._wires[source, target].slow = 1.0
