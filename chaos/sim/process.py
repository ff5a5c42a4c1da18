"""One life of a node on a machine: its loop, its executors, its connections, and how it ends.

Everything in it is the real thing: replica, driver, Raft, journal, founding, snapshots, monitors;
only what `Surroundings` hands in is simulated.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chaos.sim.directory import SimDirectory
from chaos.sim.disk import GONE, TORN, WHOLE, Fence, Interrupted
from chaos.sim.executors import Executor
from chaos.sim.faults import Told
from chaos.sim.lines import Bag, NodeEnd
from chaos.sim.network import SimNetwork
from chaos.sim.node_loop import NodeLoop
from chaos.sim.server import serve
from cluster.monitors.duties import standard_duties
from cluster.monitors.runner import Runner
from cluster.replication.core import DiskPolicy
from cluster.replication.disk_space import DiskSpace
from cluster.replication.founding_record import claim_folder
from cluster.replication.group_settings import GroupSettings
from cluster.replication.peers.trust import Trust
from cluster.replication.replica import Replica
from cluster.replication.surroundings import Surroundings
from cluster.server.tcp import BrokerServer
from cluster.storage.errors import StorageFailed
from taskq.commands import AddMember, RegisterWorker, RemoveMember
from taskq.machine.settings import Settings

if TYPE_CHECKING:
    from chaos.sim.machine import Machine

# Small, so that the log is cut and a node that was away needs a snapshot.
POLICY = DiskPolicy(0.0, 3.0, 2_000)
# Durability `interval`: what is acknowledged is synced so much later at most.
INTERVAL_POLICY = replace(POLICY, sync_interval_secs=0.1)
RESERVE_BYTES = 100_000
SETTINGS = Settings(lease_ms=2_000, max_batch_claim=4)
TRUST = Trust(bytes(32))
PORT = 7000
HAND_OVER_SECS = 5.0


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


class Process:
    """One life of a node."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        world = machine.world
        self.node_id = machine.name
        self.disk = machine.disk
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
        self.server: BrokerServer | None = None
        self.ends = Bag()  # of the connections of clients
        self._stop: asyncio.Event | None = None

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
            INTERVAL_POLICY if machine.lazy else POLICY,
            DiskSpace(directory.free_bytes, RESERVE_BYTES),
            SETTINGS,
            compact_secs=None,
            group=GroupSettings(machine.name, machine.members, machine.name, PORT, TRUST),
            surroundings=self.surroundings(),
        )
        self.replica.address = f"{machine.name}:6379"
        self._stop = asyncio.Event()
        try:
            await self.replica.start()
            await self._serve()
        finally:
            await self.replica.stop()
        if self.replica.fatal is not None:
            raise self.replica.fatal

    async def _serve(self) -> None:
        """As `cluster/node.py` does it."""
        assert self._stop is not None
        replica = self.replica
        server = self.server = serve(replica)
        runner = Runner(replica, standard_duties(), self.loop, replica.fail)
        runner.start()
        self._machine.world.tell("serving", self.node_id)
        waits = [self.loop.create_task(one.wait()) for one in (self._stop, replica.stopped)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HAND_OVER_SECS):
                    await replica.hand_over()
            runner.stop()
            await server.stop()

    def surroundings(self) -> Surroundings:
        """The machine, as the node takes it."""
        machine = self._machine
        return Surroundings(
            monotonic=machine.monotonic.read,
            wall=machine.wall.read,
            thread_secs=machine.monotonic.read,  # what an executor does takes its time before
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

    @property
    def serving(self) -> bool:
        """Whether clients can connect."""
        return self.server is not None

    def stop(self) -> bool:
        """SIGTERM: ends as planned; false where it has not come so far."""
        if self._stop is None or self.server is None:
            return False
        self.loop.call_soon(self._stop.set)
        return True

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

    def asked(self, term: int, change: AddMember | RemoveMember) -> None:
        """It leads that term, and is asked to change the members."""
        if self._machine.checks is not None:
            self._machine.checks.asked(term, change)

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
        ends: list[NodeEnd] = [] if vanish else list(self.ends)
        for end in ends:
            end.died()
        self._machine.process = None

    def hang_disk(self) -> None:
        """Nothing that is written comes to an end."""
        for executor in self._executors:
            executor.pause()

    def release_disk(self) -> None:
        """It goes on."""
        if not self.loop.paused:
            for executor in self._executors:
                executor.resume()

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
