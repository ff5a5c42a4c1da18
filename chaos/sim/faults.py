"""What goes wrong in a run, carried out.

A fault names machines by role at its moment ("leader", "follower", a number); one that is not
allowed then (a disk may be lost only while all others are whole: the promise is about minorities)
does nothing. `end` mends everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chaos.sim.caller import RATE_MIN
from chaos.sim.hunts import Hunts
from chaos.sim.lines import CLIENT
from chaos.sim.plan import Fault
from chaos.sim.world import World
from cluster.storage.flags import loss_in
from taskq.errors import Refusal

if TYPE_CHECKING:
    from chaos.sim.machine import Machine
    from chaos.sim.operator import Operator

# A fault that waits for a write waits so long at most.
MOMENT_SECS = 1.0
DAMAGES = (
    *("log-end", "log-middle", "log-cut", "log-gone", "log-table", "state-end", "state-middle"),
    *("state-gone", "state-table", "witness", "witness-slot"),
)
# With durability `interval` they lose what was acknowledged.
_LOSES_UNSYNCED = frozenset({"kill", "power", "failing disk", "full disk"})


class Faults:
    """Carries faults out on machines. `operator` changes the members, where spare machines are
    there. `owes(machine)`: whether the cluster counts on what its disk holds."""

    def __init__(
        self,
        world: World,
        machines: Sequence[Machine],
        applied_index: Callable[[], int],
        *,
        lazy: bool = False,
        operator: Operator | None = None,
        owes: Callable[[Machine], bool] = lambda machine: True,
    ) -> None:
        self._lazy = lazy
        self._operator = operator
        self._owes = owes
        self._world = world
        self._machines = list(machines)
        self._applied_index = applied_index
        self._fabric = machines[0].fabric
        # Machines whose disk lost something -> the index they must have again.
        self._impaired: dict[str, int] = {}
        self._over = False
        self._hunts = Hunts(world, machines, self._may_lose)

    def plan(self, faults: Sequence[Fault]) -> None:
        """They happen when their time comes."""
        for fault in faults:
            self._world.at(fault.at, self._carry_out, fault)
        self._watch()

    def _carry_out(self, fault: Fault) -> None:
        one = self._machine(fault.who)
        if self._lazy and fault.kind in _LOSES_UNSYNCED and not self._may_lose(one):
            return
        act = getattr(self, "_" + fault.kind.replace(" ", "_"))
        done = act(one, fault)
        if done is not False:
            self._world.note(f"fault: {fault.kind}", one.name, f"{fault.secs} s {done or ''}")

    def _machine(self, who: int) -> Machine:
        leader = next((one for one in self._machines if one.leads), self._machines[0])
        others = [one for one in self._machines if one is not leader]
        return leader if who == 0 else others[(who - 1) % len(others)]

    def _group(self, one: Machine, count: int) -> list[Machine]:
        rest = [other for other in self._machines if other is not one]
        return [one, *rest][:count]

    def _after(self, secs: float, callback: Callable[..., None], *arguments: Any) -> None:
        self._world.after(secs, callback, *arguments)

    @property
    def _majority(self) -> int:
        return len(self._machines) // 2 + 1

    # --- crashes ----------------------------------------------------------------------------------

    def _kill(self, one: Machine, fault: Fault, count: int = 1) -> None:
        def crash() -> None:
            for place, machine in enumerate(self._group(one, count)):
                machine.kill()
                machine.boot_later(min(fault.secs, 3.0) + 0.02 * place)

        self._at_a_moment(one, fault, crash)

    def _at_a_moment(self, one: Machine, fault: Fault, act: Callable[[], None]) -> None:
        """At once, or in the middle of a write."""
        if fault.number % 3 and not self._lazy:
            one.in_a_write(lambda: None if self._over else act(), MOMENT_SECS)
        else:
            act()

    def _kill_majority(self, one: Machine, fault: Fault) -> None:
        self._kill(one, fault, self._majority)

    def _kill_all(self, one: Machine, fault: Fault) -> None:
        self._kill(one, fault, len(self._machines))

    def _power(self, one: Machine, fault: Fault, count: int = 1) -> None:
        def crash() -> None:
            for place, machine in enumerate(self._group(one, count)):
                machine.cut_power()
                machine.boot_later(min(fault.secs, 3.0) + 0.1 + 0.02 * place)

        self._at_a_moment(one, fault, crash)

    def _power_majority(self, one: Machine, fault: Fault) -> None:
        self._power(one, fault, self._majority)

    def _power_all(self, one: Machine, fault: Fault) -> None:
        self._power(one, fault, len(self._machines))

    def _power_all_without_witness(self, one: Machine, fault: Fault) -> bool | None:
        """All nodes come back uncertain, and by themselves."""
        if self._over or self._impaired:
            return False
        for place, machine in enumerate(self._machines):
            machine.cut_power()
            machine.disk.damage("witness")
            machine.boot_later(min(fault.secs, 3.0) + 0.1 + 0.02 * place)
            self._impaired[machine.name] = self._applied_index()
        return None

    def _crash_while_opening(self, one: Machine, fault: Fault) -> None:
        one.kill()
        one.disk.steps_left = fault.number % 6
        one.boot_later(0.05)

    def _stop(self, one: Machine, fault: Fault) -> bool | None:
        """As planned: whoever leads hands over, and clients are not left hanging."""
        if one.process is None or not one.process.stop():
            return False
        return None

    def _pause(self, one: Machine, fault: Fault) -> bool | None:
        if one.process is None:
            return False
        since = self._world.now
        one.pause()
        # Now and then so long that the log is cut meanwhile.
        secs = 2 * fault.secs if fault.number % 5 == 0 else fault.secs
        self._after(secs, lambda: one.resume(slept=fault.number % 3 == 0, since=since))
        return None

    # --- network ----------------------------------------------------------------------------------

    def _cut(self, pairs: list[tuple[str, str]], secs: float) -> None:
        for source, target in pairs:
            self._fabric.cut(source, target)
        self._after(secs, self._heal, pairs)

    def _heal(self, pairs: list[tuple[str, str]]) -> None:
        self._world.note("partition healed")
        for source, target in pairs:
            self._fabric.heal(source, target)

    def _others(self, one: Machine) -> list[str]:
        return [other.name for other in self._machines if other is not one]

    def _isolate(self, one: Machine, fault: Fault) -> None:
        pairs = [(one.name, other) for other in self._others(one)]
        pairs += [(other, one.name) for other in self._others(one)]
        if fault.number % 2:
            pairs += [(CLIENT, one.name), (one.name, CLIENT)]
        self._cut(pairs, fault.secs)

    def _isolate_one_way(self, one: Machine, fault: Fault) -> None:
        others = self._others(one)
        outwards = [(one.name, other) for other in others]
        inwards = [(other, one.name) for other in others]
        self._cut(outwards if fault.number % 2 else inwards, fault.secs)

    def _one_way(self, one: Machine, fault: Fault) -> None:
        others = self._others(one)
        other = others[fault.number % len(others)]
        self._cut([(one.name, other)], fault.secs)

    def _split(self, one: Machine, fault: Fault) -> None:
        ours = [machine.name for machine in self._group(one, self._majority - 1)]
        theirs = [one.name for one in self._machines if one.name not in ours]
        pairs = [(a, b) for a in ours for b in theirs] + [(b, a) for a in ours for b in theirs]
        self._cut(pairs, fault.secs)

    def _slow_wire(self, one: Machine, fault: Fault) -> None:
        others = self._others(one)
        other = others[fault.number % len(others)]
        self._slow_down([(one.name, other)], fault)

    def _slow_machine(self, one: Machine, fault: Fault) -> None:
        pairs = [(one.name, other) for other in self._others(one)]
        self._slow_down(pairs + [(b, a) for a, b in pairs], fault)

    def _slow_down(self, pairs: list[tuple[str, str]], fault: Fault) -> None:
        for source, target in pairs:
            self._fabric.wire(source, target).slow = (10.0, 100.0, 600.0)[fault.number % 3]

        def mend() -> None:
            for source, target in pairs:
                self._fabric.wire(source, target).slow = 1.0

        self._after(fault.secs, mend)

    def _break(self, one: Machine, fault: Fault) -> bool | None:
        if one.process is None:
            return False
        links = [link for network in one.process.networks for link in network.links()]
        if not links:
            return False
        links[fault.number % len(links)].break_off()
        return None

    # --- disks ------------------------------------------------------------------------------------

    def _slow_disk(self, one: Machine, fault: Fault) -> None:
        one.disk.slow = (20.0, 100.0, 400.0)[fault.number % 3]
        self._after(fault.secs, lambda: setattr(one.disk, "slow", 1.0))

    def _failing_disk(self, one: Machine, fault: Fault) -> None:
        one.disk.failing = (0.05, 0.3, 1.0)[fault.number % 3]
        self._after(fault.secs, lambda: setattr(one.disk, "failing", 0.0))

    def _full_disk(self, one: Machine, fault: Fault) -> None:
        one.disk.room = (500, 20_000, 120_000)[fault.number % 3]
        self._after(fault.secs, lambda: setattr(one.disk, "room", None))

    def _wipe(self, one: Machine, fault: Fault) -> bool | None:
        if not self._may_lose(one):
            return False
        one.kill()
        one.disk.wipe()
        one.boot_later(min(fault.secs, 3.0))
        return None

    def _damage(self, one: Machine, fault: Fault) -> bool | str:
        if not self._may_lose(one) or one.process is None:
            return False
        # Killed, not without power: then the witness would be allowed to be older.
        one.kill()
        text = one.disk.damage(DAMAGES[fault.number % len(DAMAGES)])
        one.boot_later(min(fault.secs, 3.0))
        return text

    # --- hunts ------------------------------------------------------------------------------------

    def _rivals(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunts.rivals(one, fault.number, damage=False) and None

    def _rivals_damaged(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunts.rivals(one, fault.number, damage=True) and None

    def _usurp(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunts.usurp(one, fault.number) and None

    def _amnesia(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunts.amnesia(one, fault.number) and None

    def _late_answers(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunts.late_answers(one, fault.number) and None

    def _lone_copies(self, one: Machine, fault: Fault) -> bool | None:
        loss = "leader" if fault.number % 2 else "follower"
        return self._hunts.lone_copies(one, fault.number // 2, loss) and None

    def _lone_copies_damaged(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunts.lone_copies(one, fault.number, "damage") and None

    def _rush(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunt_members("rush", one, fault)

    def _hunt_members(self, kind: str, one: Machine, fault: Fault) -> bool | None:
        """Only where somebody adds again who was removed."""
        if self._operator is None:
            return False
        return self._hunts.members(kind, one, fault.number) and None

    def _stranger(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunt_members("stranger", one, fault)

    def _leaving(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunt_members("leaving", one, fault)

    def _departing(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunt_members("departing", one, fault)

    def _founding(self, one: Machine, fault: Fault) -> bool | None:
        return self._hunts.founding(fault.number) and None

    def _may_lose(self, one: Machine) -> bool:
        """Whether all others are whole; the disk counts as impaired from now on."""
        if self._over or set(self._impaired) - {one.name}:
            return False
        self._impaired[one.name] = self._applied_index()
        return True

    def _watch(self) -> None:
        """Notices who has recovered."""
        for one in self._machines:
            wanted = self._impaired.get(one.name)
            process = one.process
            if wanted is None or process is None or process.core is None or not process.serving:
                continue
            core, disk = process.core, one.disk
            if disk.failing or disk.room is not None:
                continue
            rotten = any(files.rotten for files in disk.folders.values())
            whole = not loss_in(core.log.flags) and core.raft.applied_index >= wanted and not rotten
            if whole or not self._owes(one):
                del self._impaired[one.name]
                self._world.note("recovered", one.name)
        self._after(0.5, self._watch)

    # --- members ----------------------------------------------------------------------------------

    def _members(self, one: Machine, fault: Fault) -> bool | str:
        """Somebody joins, leaves, or takes the place of another; whatever else happens."""
        if self._operator is None or self._over:
            return False
        leader = next((other.name for other in self._machines if other.leads), "")
        return self._operator.want(leader, fault.who, fault.number)

    # --- the others -------------------------------------------------------------------------------

    def _transfer(self, one: Machine, fault: Fault) -> bool | None:
        leader = next((other for other in self._machines if other.leads), None)
        if leader is None or leader.process is None:
            return False
        others = self._others(leader)
        leader.process.transfer(others[fault.number % len(others)])
        return None

    def _burden(self, one: Machine, fault: Fault) -> bool | None:
        """Many commands at once: the log is cut soon after."""
        leader = next((other for other in self._machines if other.leads), None)
        if leader is None or leader.process is None:
            return False
        leader.process.burden(60 + fault.number % 90)
        return None

    def _clock_jump(self, one: Machine, fault: Fault) -> None:
        secs = (-3600.0, -5.0, 5.0, 3600.0, 86_400.0)[fault.number % 5]
        one.jump_wall(secs)

    def _clock_rate(self, one: Machine, fault: Fault) -> None:
        one.run_clock_at(RATE_MIN + (fault.number % 21) / 100)  # at most RATE_MAX

    # --- the end ----------------------------------------------------------------------------------

    def end(self) -> None:
        """Everything is whole again, and everybody is started."""
        self._over = True
        self._fabric.heal_all()
        for one in self._machines:
            one.disk.failing, one.disk.slow, one.disk.room = 0.0, 1.0, None
            one.disk.steps_left = None
            one.resume(slept=False, since=self._world.now)
            one.set_wall_right()
            one.boot()


class Told:
    """Hears how a transfer ended."""

    def __init__(self, world: World) -> None:
        self._world = world

    def deliver(self, tag: Any, value: Any) -> None:
        refused = isinstance(value, Refusal)
        self._world.note("transfer refused" if refused else "transferred", str(tag), str(value))
