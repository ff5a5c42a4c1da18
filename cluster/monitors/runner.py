"""Runs the leader's duties: starts with leadership, ends with it.

    follower --leads--> epoch n: duties looked at when due and after every entry --loses--> follower

One timer for all duties. A duty is never proposed twice at once; what an older epoch proposed is
forgotten. A duty whose proposal changed nothing waits a moment before the next, so that it can
never fill the log by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from taskq.commands import GetStats
from taskq.errors import Refusal
from taskq.machine.machine import Applied, Machine

log = structlog.get_logger(__name__)

# After a refusal, or a proposal after which the same is still due.
REST_MS = 50
# Between two looks at least: timers and cluster time are not the same clock.
LOOK_MIN_MS = 1
# How often the warnings of duties are looked at.
WARN_MS = 10_000


class Log(Protocol):
    """What a runner needs of the replica."""

    @property
    def machine(self) -> Machine: ...
    def is_leader(self) -> bool: ...
    def propose(self, command: Any, sink: Any, tag: Any) -> None: ...
    def cluster_time_ms(self) -> int: ...
    def wall_ms(self) -> int: ...
    def subscribe(self, listener: Callable[[Applied], None]) -> None: ...
    def on_leadership(self, listener: Callable[[bool], None]) -> None: ...


@dataclass(frozen=True)
class Duty:
    """`propose(machine, elapsed_ms, wall_ms)` gives a command or None, `wake_ms` how long until it
    may give one. `warning(machine)` is logged when it changes, and before a proposal."""

    name: str
    propose: Callable[[Machine, int, int], Any]
    wake_ms: Callable[[Machine, int, int], int]
    warning: Callable[[Machine], str] | None = None


class Runner:
    """See the module. It is the sink of what it proposes; a tag is (epoch, name of the duty).
    `on_failure(error)`: the state cannot be read, or there is a bug; nothing is looked at again."""

    def __init__(
        self,
        replica: Log,
        duties: Sequence[Duty],
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._replica = replica
        self._on_failure = on_failure
        self._duties = {duty.name: duty for duty in duties}
        self._loop = loop
        self._epoch = 0
        self._running = False
        self._in_flight: dict[str, Any] = {}  # name -> what was due when it was proposed
        self._rests: dict[str, float] = {}  # name -> loop time before which it rests
        self._warnings: dict[str, str] = {}
        self._warned_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.proposed: dict[str, int] = dict.fromkeys(self._duties, 0)
        self.lost_leases = 0
        replica.subscribe(self._applied)
        replica.on_leadership(self._leadership)

    def start(self) -> None:
        """For a node that leads already."""
        if self._replica.is_leader():
            self._leadership(True)

    def stop(self) -> None:
        """No timer is left behind, nothing more is proposed."""
        self._leadership(False)

    # --- when -------------------------------------------------------------------------------------

    def _leadership(self, leads: bool) -> None:
        self._epoch += 1
        self._running = leads
        self._in_flight.clear()
        self._rests.clear()
        self._disarm()
        if leads:
            # Listeners of the same change come first: nothing is proposed from inside it.
            self._arm(0)

    def _applied(self, applied: Applied) -> None:
        if not self._running:
            return
        for lost in applied.lost:
            self.lost_leases += 1
            log.warning(
                "lease lost",
                task=lost.task_id.hex(),
                queue=lost.queue,
                worker=lost.worker_id.hex(),
                why=lost.why,
                expiries=lost.expiries,
            )
        self._arm(self._next_ms())

    def _next_ms(self) -> float:
        """How long until any duty has to be looked at."""
        replica, now = self._replica, self._loop.time()
        machine, elapsed, wall = replica.machine, replica.cluster_time_ms(), replica.wall_ms()
        waits = [
            max(duty.wake_ms(machine, elapsed, wall), (self._rests.get(name, 0.0) - now) * 1000)
            for name, duty in self._duties.items()
            if name not in self._in_flight
        ]
        return min(waits, default=WARN_MS)

    def _arm(self, wait_ms: float) -> None:
        """Sets the timer, unless it rings early enough."""
        at = self._loop.time() + max(wait_ms, LOOK_MIN_MS) / 1000
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- what -------------------------------------------------------------------------------------

    def _ring(self) -> None:
        """Heartbeats that arrived while the process was suspended come first: libuv runs timers
        before it reads sockets, and a callback of a callback after it has."""
        self._timer = None
        self._loop.call_soon(self._loop.call_soon, self._turn, self._epoch)

    def _turn(self, epoch: int) -> None:
        if epoch != self._epoch or not self._running:
            return
        try:
            self._look()
            self._warn_now_and_then()
            self._arm(self._next_ms())
        except Exception as error:
            log.exception("the leader's duties could not be looked at")
            self._on_failure(error)

    def _look(self) -> None:
        replica, now = self._replica, self._loop.time()
        machine, elapsed, wall = replica.machine, replica.cluster_time_ms(), replica.wall_ms()
        for name, duty in self._duties.items():
            if name in self._in_flight or self._rests.get(name, 0.0) > now:
                continue
            command = duty.propose(machine, elapsed, wall)
            if command is not None:
                self._warn(duty)
                self._in_flight[name] = _due(machine)
                self.proposed[name] += 1
                replica.propose(command, self, (self._epoch, name))

    def deliver(self, tag: tuple[int, str], value: Any) -> None:
        """A proposal was carried out or refused."""
        epoch, name = tag
        if epoch != self._epoch:
            return
        was_due = self._in_flight.pop(name)
        refused = type(value) is Refusal
        if refused:
            log.warning("duty refused", duty=name, code=value.code, reason=value.message)
        if refused or was_due == _due(self._replica.machine):
            self._rests[name] = self._loop.time() + REST_MS / 1000
        if refused:
            self._arm(REST_MS)  # no entry will wake it

    # --- warnings ---------------------------------------------------------------------------------

    def _warn_now_and_then(self) -> None:
        now = self._loop.time()
        if now - self._warned_at >= WARN_MS / 1000:
            self._warned_at = now
            for duty in self._duties.values():
                self._warn(duty)

    def _warn(self, duty: Duty) -> None:
        if duty.warning is None:
            return
        text = duty.warning(self._replica.machine)
        if text and text != self._warnings.get(duty.name):
            log.warning(text, duty=duty.name)
        self._warnings[duty.name] = text


def _due(machine: Machine) -> Any:
    """What a proposal ought to change: deadlines, or the tasks behind them."""
    stats = machine.ask(GetStats())
    return machine.next_due(), machine.next_retention(), stats.states, stats.totals
