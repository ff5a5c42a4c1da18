"""Faults that wait for the dangerous moment: each makes the situation that one rule is about.

Chance alone seldom crashes a voter between its vote and the next candidate's request. A hunt
watches the nodes, strikes when it is time, and mends what it cut after a few seconds. The rules
must keep every promise under all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chaos.sim.fabric import Fabric
from chaos.sim.member_hunts import MemberHunts
from chaos.sim.rivals import PATIENCE_SECS, Rivals
from chaos.sim.world import World

if TYPE_CHECKING:
    from chaos.sim.machine import Machine
    from chaos.sim.process import Process

# A hunt looks so often. Seconds.
LOOK_SECS = 0.002
# Commands that a leader is given at once, so that its log is longer than the next one's.
BURDEN = 80


class Hunts:
    """On all machines of a run. `may_lose(machine)`: its disk may lose data now."""

    def __init__(
        self, world: World, machines: Sequence[Machine], may_lose: Callable[[Machine], bool]
    ) -> None:
        self.world = world
        self._machines = list(machines)
        self.fabric: Fabric = machines[0].fabric
        self.may_lose = may_lose

    def when(self, happened: Callable[[], bool], then: Callable[[], None], patience: float) -> None:
        """Calls `then` once it has happened, if it does in time."""
        end = self.world.now + patience

        def look() -> None:
            if happened():
                then()
            elif self.world.now < end:
                self.world.after(LOOK_SECS, look)

        look()

    def _others(self, one: Machine, number: int) -> list[Machine]:
        others = [other for other in self._machines if other is not one]
        turn = number % len(others)
        return others[turn:] + others[:turn]

    def cut(self, ones: Sequence[Machine], others: Sequence[Machine], *, back: bool) -> None:
        """Nothing gets from these to those; with `back`, nor the other way."""
        for one in ones:
            for other in others:
                self.fabric.cut(one.name, other.name)
                if back:
                    self.fabric.cut(other.name, one.name)

    def heal(self, ones: Sequence[Machine], others: Sequence[Machine]) -> None:
        """Both ways."""
        for one in ones:
            for other in others:
                self.fabric.heal(one.name, other.name, quickly=True)
                self.fabric.heal(other.name, one.name, quickly=True)

    def mend(self) -> None:
        """No wire is cut, no disk is slow."""
        self.fabric.heal_all()
        for one in self._machines:
            one.disk.slow = 1.0

    # --- two candidates and a voter that crashes --------------------------------------------------

    def rivals(self, leader: Machine, number: int, *, damage: bool) -> bool:
        """See `Rivals`."""
        if len(self._machines) != 3 or leader.process is None:
            return False
        voter, other = self._others(leader, number)
        slow, quick = (leader, other) if number // 2 % 2 else (other, leader)
        Rivals(self, voter, slow, quick, damage=damage).begin(leader)
        return True

    # --- entries on two disks, one of which loses them --------------------------------------------

    def lone_copies(self, leader: Machine, number: int, loss: str) -> bool:
        """One follower is cut off; the other one and the leader commit a lot. Then one of the two
        goes down for a while, and the other one loses what it has not synced (`loss` is "leader"
        or "follower": whose disk is slow and whose power fails), or a part of its log goes bad
        ("damage"). Who was cut off comes back and must not be elected by what is left."""
        if len(self._machines) != 3 or leader.process is None:
            return False
        late, holder = self._others(leader, number)
        loser, other = (leader, holder) if loss == "leader" else (holder, leader)
        self.cut([late], [leader, holder], back=True)
        if loss != "damage":
            loser.disk.slow = 100.0
        leader.process.burden(BURDEN)

        def strike() -> None:
            if other.process is None or loser.process is None:
                return
            if loss == "damage" and not self.may_lose(loser):
                return
            self.world.note(f"lone copy: {loss}", loser.name)
            other.kill()
            other.boot_later(1.6 * PATIENCE_SECS)
            if loss == "damage":
                loser.kill()
                loser.disk.damage(("log-middle", "log-cut", "log-end")[number % 3])
                loser.boot_later(0.05)
            else:
                loser.cut_power()
                loser.boot_later(0.15)
            loser.disk.slow = 1.0
            self.heal([late], [leader, holder])

        self.world.after(0.3, strike)
        self.world.after(2 * PATIENCE_SECS, self.mend)
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
        self.cut([leader], others, back=True)

        def elected() -> bool:
            return leader.leads and any(one.leads for one in others)

        def strike() -> None:
            new, third = sorted(others, key=lambda one: not one.leads)
            if not self.may_lose(third):
                return
            self.world.note("usurped", new.name)
            self.cut([new], [third], back=True)
            third.kill()
            third.disk.wipe()
            self.heal([leader], [third])
            third.boot_later(0.0)

        self.when(elected, strike, PATIENCE_SECS)
        self.world.after(2 * PATIENCE_SECS, self.mend)
        return True

    # --- a node that forgets what it has forgotten ------------------------------------------------

    def amnesia(self, leader: Machine, number: int) -> bool:
        """One follower lags; the leader goes down, the other follower loses its disk and restarts
        once more before it has caught up. Nobody may be elected until the leader is back."""
        if len(self._machines) != 3 or leader.process is None:
            return False
        lagging, third = self._others(leader, number)
        self.cut([lagging], [leader, third], back=True)

        def lose() -> None:
            if not self.may_lose(third):
                self.mend()
                return
            leader.kill()
            leader.boot_later(4.0)
            third.kill()
            third.disk.wipe()
            self.heal([lagging], [leader, third])
            third.boot_later(0.0)
            third.until(opened)
            self.world.after(2 * PATIENCE_SECS, self.mend)

        def opened(process: Process) -> bool:
            core = process.core
            if core is None or core.log.batch_number <= 1:
                return self.world.now > end
            self.world.note("wiped and killed", third.name)
            self.world.at(self.world.now, again)
            return True

        def again() -> None:
            third.kill()
            third.boot_later(0.02)

        end = self.world.now + 3 * PATIENCE_SECS
        self.world.after(1.5, lose)
        return True

    # --- answers that come late -------------------------------------------------------------------

    def late_answers(self, leader: Machine, number: int) -> bool:
        """A leader of five is cut off with one follower whose answers are held up; it is deposed,
        leads again in a later term, and only then the answers of the first come."""
        if len(self._machines) != 5 or leader.process is None:
            return False
        late, *rest = self._others(leader, number)
        self.cut([leader], rest, back=True)
        self.cut([late], [leader], back=False)
        leader.process.burden(BURDEN)

        def deposed() -> bool:
            return not leader.leads and any(one.leads for one in rest)

        def hand_back() -> None:
            self.heal([leader], rest)
            self.world.after(0.2, ask)

        def ask() -> None:
            new = next((one for one in rest if one.leads), None)
            if new is not None and new.process is not None:
                new.process.transfer(leader.name)
            self.when(lambda: leader.leads, strike, PATIENCE_SECS)

        def strike() -> None:
            self.world.note("leads again", leader.name)
            witness, *others = rest
            self.cut([leader], others, back=True)
            self.fabric.cut(leader.name, late.name)
            self.fabric.heal(late.name, leader.name)
            self.world.after(0.7, crash, witness)

        def crash(witness: Machine) -> None:
            for one in (leader, witness):
                one.kill()
                one.boot_later(2.0)
            self.mend()

        self.when(deposed, hand_back, PATIENCE_SECS)
        self.world.after(4 * PATIENCE_SECS, self.mend)
        return True

    # --- members ----------------------------------------------------------------------------------

    def members(self, kind: str, leader: Machine, number: int) -> bool:
        """One of `MemberHunts`."""
        if leader.process is None:
            return False
        hunt = getattr(MemberHunts(self), kind)
        return bool(hunt(leader, self._others(leader, number)))

    # --- founding ---------------------------------------------------------------------------------

    def founding(self, number: int) -> bool:
        """Of the founders one crashes before it hears that the cluster is formed; then the one that
        formed it loses power and another one its disk."""
        if len(self._machines) != 3:
            return False
        minter, *others = self._machines
        deaf, third = others if number % 2 else others[::-1]

        def formed() -> bool:
            identity = minter.disk.identity
            return identity is not None and bool(identity.cluster_id)

        def found(_: Process) -> bool:
            if not formed():
                return self.world.now > PATIENCE_SECS
            self.world.at(self.world.now, deaf.kill)
            self.world.after(2.0, lose)
            return True

        def lose() -> None:
            minter.cut_power()
            minter.boot_later(0.3)
            deaf.boot_later(0.4)
            if self.may_lose(third):
                self.world.note("founder wiped", third.name)
                third.kill()
                third.disk.wipe()
                third.boot_later(0.2)
            self.when(formed, leave, PATIENCE_SECS)

        def leave() -> None:
            minter.kill()
            minter.boot_later(3.0)

        minter.until(found)
        return True


def _term(machine: Machine) -> int:
    core = None if machine.process is None else machine.process.core
    return 0 if core is None else int(core.log.term)
