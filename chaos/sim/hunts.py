"""Faults that wait for the dangerous moment: each makes the situation that one rule is about.

Chance alone seldom crashes a voter between its vote and the next candidate's request. A hunt
watches the nodes, strikes when it is time, and mends what it cut after a few seconds. The rules
must keep every promise under all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chaos.sim.fabric import Fabric
from chaos.sim.world import World

if TYPE_CHECKING:
    from chaos.sim.machine import Machine
    from chaos.sim.process import Process

# A hunt looks so often, and gives up after so long. Seconds.
LOOK_SECS = 0.002
PATIENCE_SECS = 2.5
# Commands that a leader is given at once, so that its log is longer than the next one's.
BURDEN = 80


class Hunts:
    """On all machines of a run. `may_lose(machine)`: its disk may lose data now."""

    def __init__(
        self, world: World, machines: Sequence[Machine], may_lose: Callable[[Machine], bool]
    ) -> None:
        self._world = world
        self._machines = list(machines)
        self._fabric: Fabric = machines[0].fabric
        self._may_lose = may_lose

    def _when(
        self, happened: Callable[[], bool], then: Callable[[], None], patience: float
    ) -> None:
        """Calls `then` once it has happened, if it does in time."""
        end = self._world.now + patience

        def look() -> None:
            if happened():
                then()
            elif self._world.now < end:
                self._world.after(LOOK_SECS, look)

        look()

    def _others(self, one: Machine, number: int) -> list[Machine]:
        others = [other for other in self._machines if other is not one]
        turn = number % len(others)
        return others[turn:] + others[:turn]

    def _cut(self, ones: Sequence[Machine], others: Sequence[Machine], *, back: bool) -> None:
        for one in ones:
            for other in others:
                self._fabric.cut(one.name, other.name)
                if back:
                    self._fabric.cut(other.name, one.name)

    def _heal(self, ones: Sequence[Machine], others: Sequence[Machine]) -> None:
        for one in ones:
            for other in others:
                self._fabric.heal(one.name, other.name, quickly=True)
                self._fabric.heal(other.name, one.name, quickly=True)

    def _mend(self) -> None:
        self._fabric.heal_all()
        for one in self._machines:
            one.disk.slow = 1.0

    # --- two candidates and a voter that crashes --------------------------------------------------

    def rivals(self, leader: Machine, number: int, *, damage: bool) -> bool:
        """Two stand in the same term; the third votes for one and crashes before the other asks.
        With `damage`, the batch that holds the vote goes bad, too."""
        if len(self._machines) != 3 or leader.process is None:
            return False
        slow, quick = self._others(leader, number)
        term = _term(leader)
        slow.disk.slow = 400.0
        self._cut([quick], [slow], back=False)
        leader.kill()
        leader.boot_later(0.02)

        def voted(process: Process) -> bool:
            core = process.core
            if self._world.now > end:
                return True
            if core is None or core.log.term <= term or core.log.vote != quick.name:
                return False
            if not core.consensus.post.clear:
                return False
            self._world.at(self._world.now, strike)
            return True

        def strike() -> None:
            self._world.note("rival voted for", quick.name)
            self._cut([quick], [leader], back=False)
            leader.kill()
            if damage and self._may_lose(leader):
                leader.disk.damage("log-end")
            leader.boot_later(0.001)

        end = self._world.now + PATIENCE_SECS
        leader.until(voted)
        self._world.after(PATIENCE_SECS, self._mend)
        return True

    # --- a deposed leader and a wiped node --------------------------------------------------------

    def usurp(self, leader: Machine, number: int) -> bool:
        """A leader is cut off and does not know that another one was elected; a node that followed
        the new one loses its disk, and is then heard by the old one only."""
        if len(self._machines) != 3 or leader.process is None:
            return False
        others = self._others(leader, number)
        # Its clock is slow: it believes in itself for longer than the others wait.
        leader.run_clock_at(0.9)
        for one in others:
            one.run_clock_at(1.1)
        self._cut([leader], others, back=True)

        def elected() -> bool:
            return leader.leads and any(one.leads for one in others)

        def strike() -> None:
            new, third = sorted(others, key=lambda one: not one.leads)
            if not self._may_lose(third):
                return
            self._world.note("usurped", new.name)
            self._cut([new], [third], back=True)
            third.kill()
            third.disk.wipe()
            self._heal([leader], [third])
            third.boot_later(0.0)

        self._when(elected, strike, PATIENCE_SECS)
        self._world.after(2 * PATIENCE_SECS, self._mend)
        return True

    # --- a node that forgets what it has forgotten ------------------------------------------------

    def amnesia(self, leader: Machine, number: int) -> bool:
        """One follower lags; the leader goes down, the other follower loses its disk and restarts
        once more before it has caught up. Nobody may be elected until the leader is back."""
        if len(self._machines) != 3 or leader.process is None:
            return False
        lagging, third = self._others(leader, number)
        self._cut([lagging], [leader, third], back=True)

        def lose() -> None:
            if not self._may_lose(third):
                self._mend()
                return
            leader.kill()
            leader.boot_later(4.0)
            third.kill()
            third.disk.wipe()
            self._heal([lagging], [leader, third])
            third.boot_later(0.0)
            third.until(opened)
            self._world.after(2 * PATIENCE_SECS, self._mend)

        def opened(process: Process) -> bool:
            core = process.core
            if core is None or core.log.batch_number <= 1:
                return self._world.now > end
            self._world.note("wiped and killed", third.name)
            self._world.at(self._world.now, again)
            return True

        def again() -> None:
            third.kill()
            third.boot_later(0.02)

        end = self._world.now + 3 * PATIENCE_SECS
        self._world.after(1.5, lose)
        return True

    # --- answers that come late -------------------------------------------------------------------

    def late_answers(self, leader: Machine, number: int) -> bool:
        """A leader of five is cut off with one follower whose answers are held up; it is deposed,
        leads again in a later term, and only then the answers of the first come."""
        if len(self._machines) != 5 or leader.process is None:
            return False
        late, *rest = self._others(leader, number)
        self._cut([leader], rest, back=True)
        self._cut([late], [leader], back=False)
        leader.process.burden(BURDEN)

        def deposed() -> bool:
            return not leader.leads and any(one.leads for one in rest)

        def hand_back() -> None:
            self._heal([leader], rest)
            self._world.after(0.2, ask)

        def ask() -> None:
            new = next((one for one in rest if one.leads), None)
            if new is not None and new.process is not None:
                new.process.transfer(leader.name)
            self._when(lambda: leader.leads, strike, PATIENCE_SECS)

        def strike() -> None:
            self._world.note("leads again", leader.name)
            witness, *others = rest
            self._cut([leader], others, back=True)
            self._fabric.cut(leader.name, late.name)
            self._fabric.heal(late.name, leader.name)
            self._world.after(0.7, crash, witness)

        def crash(witness: Machine) -> None:
            for one in (leader, witness):
                one.kill()
                one.boot_later(2.0)
            self._mend()

        self._when(deposed, hand_back, PATIENCE_SECS)
        self._world.after(4 * PATIENCE_SECS, self._mend)
        return True

    # --- founding ---------------------------------------------------------------------------------

    def founding(self, number: int) -> bool:
        """Of the founders one never hears that the cluster is formed; then the one that formed it
        loses power and another one its disk."""
        if len(self._machines) != 3:
            return False
        minter, *others = self._machines
        deaf, third = others if number % 2 else others[::-1]

        def formed() -> bool:
            identity = minter.disk.identity
            return identity is not None and bool(identity.cluster_id)

        def found(_: Process) -> bool:
            if not formed():
                return self._world.now > PATIENCE_SECS
            self._cut([deaf], [minter, third], back=True)
            self._world.after(3.0, lose)
            return True

        def lose() -> None:
            minter.cut_power()
            minter.boot_later(0.3)
            if self._may_lose(third):
                self._world.note("founder wiped", third.name)
                third.kill()
                third.disk.wipe()
                third.boot_later(0.2)
            self._mend()
            self._when(formed, leave, PATIENCE_SECS)

        def leave() -> None:
            minter.kill()
            minter.boot_later(3.0)

        minter.until(found)
        return True


def _term(machine: Machine) -> int:
    core = None if machine.process is None else machine.process.core
    return 0 if core is None else int(core.log.term)
