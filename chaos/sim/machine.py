"""A computer of the simulation: clocks, a disk, power, and at most one process, which is a node.

    off/down --boot--> Process --(kill | power cut | stop | the node ends by itself)--> down

Everything in a process is the real thing: replica, driver, Raft, journal, founding, snapshots,
monitors; only what `Surroundings` hands in is simulated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chaos.sim.checks import Checks
from chaos.sim.clocks import Clock
from chaos.sim.directory import SimDirectory, state_view
from chaos.sim.disk import GONE, TORN, WHOLE, Disk, Fence, Interrupted
from chaos.sim.executors import Executor
from chaos.sim.fabric import Fabric
from chaos.sim.faults import Told
from chaos.sim.leveldb import SimDatabase
from chaos.sim.network import SimNetwork
from chaos.sim.node_loop import NodeLoop
from chaos.sim.server import Server
from chaos.sim.world import World
from cluster.monitors.duties import standard_duties
from cluster.monitors.runner import Runner
from cluster.replication.core import DiskPolicy
from cluster.replication.disk_space import DiskSpace
from cluster.replication.founding_record import claim_folder
from cluster.replication.group_settings import GroupSettings
from cluster.replication.peers.trust import Trust
from cluster.replication.replica import Replica
from cluster.replication.surroundings import Surroundings
from cluster.storage.errors import StorageFailed
from taskq.commands import RegisterWorker
from taskq.machine.settings import Settings

# Small, so that the log is cut and a node that was away needs a snapshot.
POLICY = DiskPolicy(0.0, 3.0, 2_000)
RESERVE_BYTES = 100_000
SETTINGS = Settings(lease_ms=2_000, max_batch_claim=4)
WALL_START_SECS = 1_700_000_000.0
PORT = 7000
# A supervisor starts a process that ended by itself after so long.
RESTART_SECS = 0.5
TRUST = Trust(bytes(32))


@dataclass
class Seen:
    """What the checks saw of a process last."""

    raft: Any = None
    term: int = 0
    commit: int = 0


class _Nobody:
    """Waits for no answer."""

    def deliver(self, tag: Any, value: Any) -> None:
        """Whatever it is."""


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
        self.world.note("clock jump", self.name, f"{secs:+.1f} s")
        self._wall_shown = self.wall_reached
        self.wall.jump(secs)

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


class Process:
    """One life of a node."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        world = machine.world
        self.node_id = machine.name
        self.fence = Fence()
        self.seen = Seen()
        self._chance = world.generator("process", machine.name, machine.boots)
        self._executors: list[Executor] = []
        self.networks: list[SimNetwork] = []
        self.spare = self._executor("spare")
        self.loop = NodeLoop(  # type: ignore[abstract]
            world, machine.monotonic, machine.name, self.spare, self._surprise, self._after_turn
        )
        self.loop.process = self
        self.replica: Any = None
        self.server: Server | None = None
        self.serving = False
        # Who waits for an answer, and how to say that the connection is gone.
        self.callers: dict[Any, Callable[[], None]] = {}

    @property
    def core(self) -> Any:
        """The open node, or None."""
        return None if self.replica is None else self.replica._core

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Runs until it is ended or ends by itself."""
        task = self.loop.create_task(self._run())
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self.fence.up:
            self._machine.ended(self, error)

    async def _run(self) -> None:
        machine = self._machine
        directory: Any = SimDirectory(machine.disk, machine.name, self.fence, self._chance)
        claim_folder(directory, member=True)
        self.replica = Replica(
            directory,
            POLICY,
            DiskSpace(directory.free_bytes, RESERVE_BYTES),
            SETTINGS,
            compact_secs=None,
            group=GroupSettings(machine.name, machine.members, machine.name, PORT, TRUST),
            surroundings=self.surroundings(),
        )
        self.replica.address = f"{machine.name}:6379"
        self.server = Server(self.replica)
        await self.replica.start()
        Runner(self.replica, standard_duties(), self.loop).start()
        self.serving = True
        machine.world.tell("serving", machine.name)
        await self.replica.stopped.wait()
        raise self.replica.fatal

    def surroundings(self) -> Surroundings:
        """The machine, as the node takes it."""
        machine = self._machine
        return Surroundings(
            monotonic=machine.monotonic.read,
            wall=machine.wall.read,
            random=self._chance,
            executor=self._executor,
            network=self._network,
        )

    def transfer(self, target: str) -> None:
        """Asks the node to hand over the lead."""
        self.loop.call_soon(self.replica.transfer, target, Told(self._machine.world), target)

    def burden(self, count: int) -> None:
        """Proposes so many commands that nobody waits for, each in an entry of its own."""
        for number in range(count):
            command = RegisterWorker(self._chance.randbytes(16), "burden", 1, 1_000)
            self._machine.world.after(
                number * 0.004, self.loop.call_soon, self.replica.propose, command, _Nobody(), None
            )

    def said(self) -> str:
        """Where the node is, in a few words."""
        core = self.core
        if core is None:
            return "not open"
        raft = core.raft
        return (
            f"term {raft.term} applied {raft.applied_index} commit {raft.commit_index}"
            f" log {core.log.first_index}-{core.log.last_index} flags {core.log.flags}"
            f" leader {self.replica.leader!r}"
        )

    def serve(self, request: Any, answer: Callable[[Any], None]) -> None:
        """A client's request, on the loop."""
        assert self.server is not None
        self.server.handle(request, answer)

    def _executor(self, name: str) -> Any:
        machine = self._machine
        executor = Executor(machine.world, name, machine.disk.latency, machine.writing)
        self._executors.append(executor)
        return executor

    def _network(self, *arguments: Any, **more: Any) -> Any:
        machine = self._machine
        network = SimNetwork(machine.name, machine.fabric, self._chance, *arguments, **more)
        self.networks.append(network)
        return network

    def _surprise(self, message: str, error: BaseException | None) -> None:
        if isinstance(error, Interrupted):
            return
        self._machine.world.violate(f"{self.node_id}: {message} {error!r}")

    def _after_turn(self) -> None:
        if self.fence.up:
            self._machine.after_turn(self)

    def applied(self, applier: Any, index: int, term: int, done: Any) -> None:
        """Its applier applied an entry."""
        checks = self._machine.checks
        if checks is not None and self.fence.up:
            checks.applied(self, applier, index, term, done)

    # --- ends -------------------------------------------------------------------------------------

    def interrupt(self) -> str:
        """The process dies now: what becomes of the writes under way. The most that is left."""
        most = GONE
        for executor in self._executors:
            task = executor.kill()
            if task is None:
                continue
            how = self._chance.choice((GONE, TORN, WHOLE, WHOLE))
            self.fence.interrupting = how
            if how == WHOLE and self._chance.random() < 0.5:
                self.fence.interrupting = ""  # it was just over
            if self._carry_out(task) and how != GONE:
                most = how
        self.fence.interrupting = ""
        return most

    def _carry_out(self, task: Callable[[], Any]) -> bool:
        try:
            task()
        except (Interrupted, StorageFailed):
            return True
        return True

    def end(self, *, vanish: bool) -> None:
        """Nothing of it runs any more."""
        self.fence.up = False
        for executor in self._executors:
            executor.kill()
        for network in self.networks:
            network.die(vanish=vanish)
        self.loop.kill()
        callers, self.callers = self.callers, {}
        for hang_up in [] if vanish else callers.values():
            hang_up()
        self._machine.process = None

    def pause(self) -> None:
        """Nothing runs."""
        self.loop.pause()
        for executor in self._executors:
            executor.pause()

    def resume(self) -> None:
        """Everything goes on, late."""
        for executor in self._executors:
            executor.resume()
        self.loop.resume()
