"""One run: a cluster, its clients, a minute of faults, then peace, and the account of it all."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chaos.checkers import violations
from chaos.history import Final, History
from chaos.sim.caller import RATE_MAX, RATE_MIN, Caller
from chaos.sim.checks import Checks
from chaos.sim.clients import Actors, viewed
from chaos.sim.clocks import Clock
from chaos.sim.executors import Executor
from chaos.sim.fabric import Fabric
from chaos.sim.faults import Faults
from chaos.sim.lines import Line
from chaos.sim.machine import Machine
from chaos.sim.node_loop import NodeLoop
from chaos.sim.operator import Operator
from chaos.sim.plan import (
    FEW_MEMBERS_WEIGHTS,
    LAZY_WEIGHTS,
    MEMBERS_WEIGHTS,
    WEIGHTS,
    Fault,
    draw,
)
from chaos.sim.process import PORT
from chaos.sim.promises import unkept
from chaos.sim.watching import watching
from chaos.sim.world import Violation, World
from cluster.storage.flags import loss_in
from taskq.commands import GetStats, QueryStatus
from taskq.errors import Refusal

FAULTY_SECS = 60.0
# Within so long after everything was mended all calls have ended and all nodes are alike.
PEACE_SECS = 60.0
RENEW_SECS = 5.0
FIVE_NODES_CHANCE = 0.2
# Durability `interval`: one node at a time may crash, as it loses what it acknowledged.
LAZY_CHANCE = 0.1
# Of the runs that begin with three nodes, so many have spare ones that join and leave, or begin
# with one.
MEMBERS_CHANCE = 0.3


@dataclass
class Outcome:
    """How a run went. `broken`: the broken promise, "" if none."""

    seed: int
    nodes: int
    faults: list[Fault]
    counts: Counter[str] = field(default_factory=Counter)
    broken: str = ""
    trace: list[str] = field(default_factory=list)
    fingerprint: str = ""
    virtual_secs: float = 0.0
    cpu_secs: float = 0.0


class Run:
    """The parts of one run."""

    def __init__(self, world: World, nodes: int, *, lazy: bool = False, founders: int = 0) -> None:
        """`founders`: so many of the nodes found the cluster, the others may join; 0: all."""
        self.world = world
        names = [f"n{number}" for number in range(1, nodes + 1)]
        self.fabric = Fabric(world)
        addresses = {name: f"{name}:{PORT}" for name in names}
        for name in names:
            self.fabric.machine_of[addresses[name]] = name
        founding = names[: founders or nodes]
        self.machines = {
            name: Machine(
                *(world, self.fabric, name),
                {one: addresses[one] for one in dict.fromkeys([*founding, name])},
            )
            for name in names
        }
        self.checks = Checks(world, self.machines.values, founding)
        for machine in self.machines.values():
            machine.checks = self.checks
            machine.lazy = lazy
        true = Clock(lambda: world.now, 0.0, 1.0)
        self.loop = NodeLoop(  # type: ignore[abstract]
            world,
            true,
            "clients",
            Executor(world, "clients", lambda: 0.0),
            lambda message, error: world.violate(f"a client failed: {message} {error!r}"),
        )
        self.history = History()
        self.callers: list[Caller] = []
        self._names = names
        self.actors = Actors(world, self._caller)
        self.operator = None
        if founders:
            members = lambda: set(self.checks.oracle.voters.members)  # noqa: E731
            self.operator = Operator(world, self._connect, names, members, min(founders, 3))
        self.faults = Faults(
            *(world, list(self.machines.values()), lambda: self.checks.oracle.index),
            lazy=lazy,
            operator=self.operator,
            owes=self._owes,
        )

    def _owes(self, machine: Machine) -> bool:
        """Whether it is a member, or may be as some node has it."""
        if machine.name in self.checks.oracle.voters.members:
            return True
        for one in self.machines.values():
            core = None if one.process is None else one.process.core
            if core is None or machine.name in core.raft.roster.newest.members:
                return True
        return False

    def _caller(self, chance: random.Random) -> Caller:
        caller = Caller(self.world, self._connect, self._names, self.history, chance)
        self.callers.append(caller)
        return caller

    def _connect(self, name: str) -> Line:
        return Line(self.fabric, self.loop, self.machines[name])

    def go(self, faults: Sequence[Fault]) -> None:
        """All of it. Raises Violation."""
        world, machines = self.world, list(self.machines.values())
        for place, machine in enumerate(machines):
            world.at(0.1 * place, machine.boot)
        self.loop.call_now(self.actors.start, self.loop)
        if self.operator is not None:
            self.loop.call_now(self.operator.start, self.loop)
        self.faults.plan(faults)
        world.run_until(FAULTY_SECS)
        self.faults.end()
        self.actors.stop()
        if self.operator is not None:
            self.operator.finish()
        world.after(RENEW_SECS, self._renew)
        if not world.run_until(FAULTY_SECS + PEACE_SECS, lambda: self.actors.done):
            raise Violation("a call never ended, though everything is mended")
        if not world.run_until(world.now + PEACE_SECS, self._is_quiet):
            raise Violation(f"not alike {PEACE_SECS} s after all was mended: {self._said()}")
        for machine in machines:
            assert machine.process is not None
            if any(files.rotten for files in machine.disk.folders.values()):
                continue  # nobody has read those bytes yet: the daily scrub would
            applier = machine.process.core.applier
            self.checks.compare(machine.name, applier.index, applier)
            self.checks.state_on_disk(machine)
        if world.violation is not None:
            raise world.violation
        self.history.final = self._read_out()
        broken = violations(self.history, clock_rate=(RATE_MIN / RATE_MAX, 1.0))
        for line in (*broken, *unkept(self.history)):
            raise Violation(line)

    def _renew(self) -> None:
        """Tasks with a date wait where most clocks were slow: the log's wall time creeps up to
        them, unless another node leads."""
        if self.checks.oracle.machine.ask(GetStats()).states["scheduled"]:
            leader = next((one for one in self.machines.values() if one.leads), None)
            if leader is not None and leader.process is not None:
                leader.process.stop()
            self.world.after(RENEW_SECS, self._renew)

    def _is_quiet(self) -> bool:
        """All nodes serve, are where the oracle is, bear no flag, owe no answer, and nothing waits
        for time."""
        if self.operator is not None and not self.operator.done:
            return False
        index, leaders = self.checks.oracle.index, 0
        for machine in self.machines.values():
            process = machine.process
            core = None if process is None else process.core
            if process is None or core is None or not process.serving or loss_in(core.log.flags):
                return False
            if core.raft.applied_index != index or core.raft.commit_index != index:
                return False
            leaders += machine.leads
        if any(line.unanswered for caller in self.callers for line in caller.lines):
            return False
        states = self.checks.oracle.machine.ask(GetStats()).states
        moving = sum(states[name] for name in ("scheduled", "retrying", "leased"))
        return leaders == 1 and not moving

    def _said(self) -> str:
        owed = sum(line.unanswered for caller in self.callers for line in caller.lines)
        return f"oracle at {self.checks.oracle.index}, {owed} answers owed; " + "; ".join(
            f"{one.name}: {'down' if one.process is None else one.process.said()}"
            for one in self.machines.values()
        )

    def _read_out(self) -> Final:
        """What any node says now: the oracle's state, which is that of all."""
        ask = self.checks.oracle.machine.ask
        ids = {call.args["id"] for call in self.history.of("submit")}
        tasks = {}
        for task_id in sorted(ids):
            view = ask(QueryStatus(bytes.fromhex(task_id)))
            if not isinstance(view, Refusal):
                tasks[task_id] = viewed(view)
        statuses = {one: tasks[one]["state"] if one in tasks else "NOT_FOUND" for one in ids}
        stats = ask(GetStats())
        return Final(tasks, statuses, dict(stats.states), dict(stats.totals))

    def close(self) -> None:
        """Nothing of it runs any more."""
        for machine in self.machines.values():
            if machine.process is not None:
                machine.process.end(vanish=True)
        self.loop.kill()
        self.world.counts["orders compared"] += self.checks.oracle.order.compared


def run_seed(
    seed: int,
    faults: Sequence[Fault] | None = None,
    *,
    tracing: bool = False,
    weights: Mapping[str, int] = WEIGHTS,
    nodes: int | None = None,
    founders: int | None = None,
) -> Outcome:
    """Runs a seed: with its own faults, drawn by `weights`, or with these; on as many nodes as it
    says, or on so many; all of them found the cluster, or so many do."""
    started = time.process_time()
    chance = random.Random(f"run {seed}")
    drawn_nodes = 5 if chance.random() < FIVE_NODES_CHANCE else 3
    nodes = nodes or drawn_nodes
    # A single member that loses what it acknowledged has nobody to get it from.
    lazy = chance.random() < LAZY_CHANCE and weights is WEIGHTS and not founders
    weights = LAZY_WEIGHTS if lazy else weights
    if founders is None:
        founders = 0
        growth = random.Random(f"members {seed}")
        if weights is WEIGHTS and nodes == 3 and growth.random() < MEMBERS_CHANCE:
            founders, nodes = growth.choice(((3, 5), (3, 4), (1, 3), (1, 4)))
    if founders and weights is WEIGHTS:
        weights = MEMBERS_WEIGHTS if founders > 1 else FEW_MEMBERS_WEIGHTS
    outcome = Outcome(seed, nodes, list(draw(chance, weights) if faults is None else faults))
    world = World(seed, tracing=tracing)
    with watching(world):
        run = Run(world, nodes, lazy=lazy, founders=founders)
        try:
            run.go(outcome.faults)
        except Violation as violation:
            outcome.broken = str(violation)
        except Exception as error:  # noqa: BLE001  # a bug of the simulation: the seed is named
            for line in traceback.format_exception(error):
                world.tell("", "", line.rstrip())
            outcome.broken = f"the simulation failed: {error!r}"
        finally:
            run.close()
    outcome.counts = world.counts
    outcome.counts["durability interval"] += lazy
    outcome.counts["members may change"] += bool(founders)
    outcome.trace = list(world.trace)
    outcome.fingerprint = world.fingerprint
    outcome.virtual_secs = world.now
    outcome.cpu_secs = time.process_time() - started
    return outcome
