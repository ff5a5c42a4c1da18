"""Whether this node lives, has started, and should be asked: what probes ask.

Looks at the node twice a second: what stands still, and for how long, is not to be seen at once.
The verdicts are `stillness.py` and `readiness.py`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from cluster.server.readiness import Readiness
from cluster.server.stillness import Stillness
from cluster.vitals import Vitals
from taskq.errors import Refusal

LOOK_SECS = 0.5


class Patient(Protocol):
    """Whoever is looked at: `cluster/replication`'s Replica."""

    def vitals(self) -> Vitals:
        """How far the node has come, and what it owes."""

    def growth_refused(self) -> Refusal | None:
        """Why what grows is refused (the disk is full), or None."""


class Health:
    """Listens from the node's first moment on. `started` (the ports are open) and `stopping` are
    set by the node; `stall_limit_secs`: see `Stillness`. Each question is answered with empty for
    yes, or with what is missing."""

    def __init__(self, patient: Patient, stall_limit_secs: float) -> None:
        self._patient = patient
        self._stillness = Stillness(stall_limit_secs)
        self._readiness = Readiness()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._missing = "opening the data folder"
        self.started = False
        self.stopping = False

    def watch(self) -> None:
        """Looks now, and twice a second from now on."""
        self._timer = self._loop.call_later(LOOK_SECS, self.watch)
        self._look()

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        vitals, now = self._patient.vitals(), self._loop.time()
        self._missing = self._missing and self._start_lacks(vitals)
        if not self._missing:
            refusal = self._patient.growth_refused()
            self._stillness.look(vitals, now)
            self._readiness.look(vitals, "" if refusal is None else refusal.message, now)

    def _start_lacks(self, vitals: Vitals) -> str:
        if not self.started:
            return vitals.recovery or "opening the ports"
        return "" if vitals.obstacle else vitals.recovery  # a cluster that is founded has no log

    def live(self) -> str:
        """Who can ask this has a loop that turns; and nothing that could move stands still. A node
        that starts, stops, heals or has no quorum lives."""
        return "" if self.stopping else self._stillness.wedged()

    def started_up(self) -> str:
        """The log that was found is replayed and the ports are open; from then on for good."""
        if self._missing:
            self._look()
        return self._missing

    def ready(self) -> str:
        """Requests sent here would be served."""
        if self.stopping:
            return "stopping"
        self._look()
        return f"starting: {self._missing}" if self._missing else self._readiness.lacking()
