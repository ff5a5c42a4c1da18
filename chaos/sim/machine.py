"""A computer of the simulation: clocks, a disk, power, and at most one process, which is a node.

off/down --boot--> Process --(kill | power cut | the node ends by itself)--> down
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.sim.checks import Checks
from chaos.sim.clocks import WALL_START_SECS, Clock
from chaos.sim.directory import state_view
from chaos.sim.disk import GONE, Disk
from chaos.sim.fabric import Fabric
from chaos.sim.leveldb import SimDatabase
from chaos.sim.process import Process
from chaos.sim.world import World
from cluster.storage.errors import StorageFailed

# A supervisor starts a process that ended by itself after so long.
RESTART_SECS = 0.5


class Machine:
    """See the module. `members`: name of every machine -> its Raft address."""

    def __init__(self, world: World, fabric: Fabric, name: str, members: dict[str, str]) -> None:
        self.world, self.fabric, self.name = world, fabric, name
        self.members = members
        chance = world.generator("machine", name)
        self._chance = chance
        self.monotonic = Clock(lambda: world.now, chance.uniform(1, 1e6), chance.uniform(0.9, 1.1))
        offset = WALL_START_SECS + chance.choice((0, 0, 1, -1)) * chance.uniform(0, 7200)
        self.wall = Clock(lambda: world.now, offset, chance.uniform(0.99, 1.01))
        self._wall_shown = 0.0
        self.disk = Disk(world, name)
        self.disk.on_power_failure = self._power_failed
        self.process: Process | None = None
        self.powered = True
        self.checks: Checks | None = None
        self.boots = 0
        self.lazy = False  # durability `interval`
        self._awaited: Callable[[], None] | None = None
        self._asked: list[Callable[[Process], bool]] = []

    # --- life -------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Starts a process, if there is none; the machine has power from now on."""
        self.powered = True
        self.fabric.off.discard(self.name)
        if self.process is not None:
            return
        if self.checks is not None:
            self.checks.state_on_disk(self)
        self.boots += 1
        self.world.note("boot", self.name)
        self.process = Process(self)
        self.process.start()

    def boot_later(self, secs: float) -> None:
        """Starts a process after so long, if nobody did before."""
        self.world.after(secs, self.boot)

    def kill(self) -> None:
        """SIGKILL: what was written is in the system's memory and comes to disk."""
        process = self.process
        if process is None:
            return
        self.world.note("kill", self.name)
        process.interrupt()
        process.end(vanish=False)

    def cut_power(self) -> None:
        """The machine is gone, and with it whatever was not synced."""
        process = self.process
        self.world.note("power cut", self.name)
        if process is not None:
            if process.interrupt() != GONE:
                self.world.note("unsynced write", self.name)
            process.end(vanish=True)
        self.fabric.off.add(self.name)
        self.powered = False
        self.disk.lose_power()

    def _power_failed(self) -> None:
        """In the middle of an opening."""
        assert self.process is not None
        self.process.fence.up = False
        self.world.at(self.world.now, self._off_for_a_while)

    def _off_for_a_while(self) -> None:
        self.cut_power()
        self.boot_later(self._chance.uniform(0.2, 2.0))

    def ended(self, process: Process, error: BaseException | None) -> None:
        """The process ended by itself."""
        if self.process is not process:
            return
        self.world.note("ended", self.name, repr(error))
        if error is not None and not isinstance(error, StorageFailed):
            self.world.violate(f"{self.name} ended: {error!r}")
        process.end(vanish=False)
        self.boot_later(RESTART_SECS)

    def pause(self) -> None:
        """SIGSTOP, or a suspended virtual machine."""
        if self.process is not None:
            self.world.note("pause", self.name)
            self.process.pause()

    def resume(self, *, slept: bool, since: float) -> None:
        """Goes on. `slept`: its monotonic clock stood still since then."""
        if self.process is not None and self.process.loop.paused:
            self.world.tell("resume", self.name)
            if slept:
                self.monotonic.jump(-(self.world.now - since) * self.monotonic.rate)
            self.process.resume()

    def jump_wall(self, secs: float) -> None:
        """Somebody set the clock."""
        self.world.tell("clock jump", self.name, f"{secs:+.1f} s")
        self._wall_shown = self.wall_reached
        self.wall.jump(secs)

    def set_wall_right(self) -> None:
        """Somebody set the clock right."""
        self.jump_wall(WALL_START_SECS + self.world.now - self.wall.read())

    @property
    def wall_reached(self) -> float:
        """The latest time that its wall clock ever showed."""
        return max(self._wall_shown, self.wall.read())

    def run_clock_at(self, rate: float) -> None:
        """Its monotonic clock runs at another rate from now on."""
        self.monotonic.run_at(rate)
        if self.process is not None:
            self.process.loop.clock_changed()

    # --- moments ----------------------------------------------------------------------------------

    def in_a_write(self, act: Callable[[], None], patience_secs: float) -> None:
        """Does it in the middle of the next work on the disk, or when patience ends."""

        def once() -> None:
            if self._awaited is once:
                self._awaited = None
                act()

        self._awaited = once
        self.world.after(patience_secs, once)

    def until(self, happened: Callable[[Process], bool]) -> None:
        """Asks after each turn of its loop, in any life, until the answer is yes."""
        self._asked.append(happened)

    def after_turn(self, process: Process) -> None:
        """A turn of its loop is over."""
        if self.checks is not None:
            self.checks.after_turn(process)
        if self._asked:
            self._asked = [one for one in self._asked if not one(process)]

    def writing(self, secs: float) -> None:
        """Work on the disk begins, and takes so long."""
        if self._awaited is not None:
            self.world.after(self._chance.uniform(0, secs), self._awaited)

    # --- what is asked ----------------------------------------------------------------------------

    @property
    def replica(self) -> Any:
        """The node, or None."""
        return None if self.process is None else self.process.replica

    @property
    def leads(self) -> bool:
        """Whether its node leads, as it believes."""
        replica = self.replica
        return replica is not None and replica.is_leader()

    def view_of_state(self) -> SimDatabase:
        """What its disk holds of the state."""
        return state_view(self.disk)
