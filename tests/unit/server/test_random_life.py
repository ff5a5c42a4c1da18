"""Random lives of many connections: whatever happens, each request on a connection that lives is
answered once, and in the end nothing is held.

A failure prints its seed: `run(seed)` is the same life again.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from cluster.monitors.duties import standard_duties
from cluster.monitors.runner import Runner
from taskq import commands
from tests.unit.server.rig import Peer, Rig, claim, submit, task_id

STEPS = 300
QUEUES = ("a", "b", "c")
# Longer than any wait or deadline below, so that everything has ended.
END_SECS = 120


class Life:
    """One random life. A request is (peer, request id) until it is answered."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rig = Rig(
            connection_count_max=8,
            request_count_max=self.random.choice([2, 20, 1000]),
            connection_size_max=self.random.choice([64 * 1024, 64 * 1024**2]),
            node_size_max=self.random.choice([200_000, 256 * 1024**2]),
            waiting_count_max=self.random.choice([5, 1000]),
            idle_secs=10_000,
        )
        self.runner = Runner(
            self.rig.replica, standard_duties(), self.rig.loop, self.rig.failures.append
        )
        self.runner.start()
        self.peers: list[Peer] = []
        self.asked: list[tuple[Peer, int]] = []
        self.numbers: dict[bytes, int] = {}

    def step(self) -> None:
        moves = [self.connect, self.ask, self.ask, self.ask, self.ask, self.wait]
        moves += [self.hang_up, self.stop_reading, self.drain, self.hold, self.lead]
        self.random.choice(moves)()
        self.rig.loop.settle()

    def connect(self) -> None:
        peer = self.rig.peer()
        if not peer.pipe.closing:
            self.peers.append(peer)

    def alive(self) -> Peer | None:
        self.peers = [peer for peer in self.peers if not peer.pipe.closing]
        return self.random.choice(self.peers) if self.peers else None

    def ask(self) -> None:
        peer = self.alive()
        # A transport that was told to pause hands nothing over.
        if peer is not None and not peer.pipe.paused:
            made = [self.command() for _ in range(self.random.randint(1, 12))]
            deadline_ms = self.random.choice([0, 0, 1, 3_000])
            self.asked += [(peer, one) for one in peer.send(*made, deadline_ms=deadline_ms)]

    def command(self) -> Any:
        number, queue = self.random.randint(1, 60), self.random.choice(QUEUES)
        worker = task_id(self.random.randint(1, 4))
        self.numbers[worker] = self.numbers.get(worker, 0) + self.random.choice([0, 1, 1])
        claimed = max(self.numbers[worker], 1)
        queues = self.random.sample(QUEUES, self.random.randint(1, 3))
        return self.random.choice(
            [
                submit(number, queue, payload=bytes(self.random.choice([0, 10, 30_000]))),
                submit(number, queue, delay_ms=500, max_retries=0),
                claim(
                    claimed, *queues, worker=worker, wait_ms=self.random.choice([0, 900, 30_000])
                ),
                claim(claimed, *queues, worker=worker, max_tasks=3),
                commands.TaskResult(
                    task_id(number), self.random.randint(1, 99), True, b"r" * 9_000
                ),
                commands.Heartbeat(worker, [], max(claimed - 1, 1)),
                commands.QueryStatus(task_id(number), self.random.choice([0, 2_000])),
                commands.CancelTask(task_id(number), self.random.random() < 0.3),
                commands.ListTasks(limit=20),
                commands.GetStats(stale=True),
                commands.SubmitTasks([list(submit(n, queue)) for n in range(number, number + 9)]),
                commands.DeregisterWorker(worker),
            ]
        )

    def wait(self) -> None:
        self.rig.loop.advance(self.random.choice([0.01, 0.7, 5]))

    def hang_up(self) -> None:
        peer = self.alive()
        if peer is not None and self.random.random() < 0.4:
            peer.hang_up()

    def stop_reading(self) -> None:
        peer = self.alive()
        if peer is not None:
            peer.pipe.reads = False

    def drain(self) -> None:
        for peer in self.peers:
            peer.pipe.drain()

    def hold(self) -> None:
        replica = self.rig.replica
        if replica.held:
            replica.release()
        else:
            replica.held = True

    def lead(self) -> None:
        replica = self.rig.replica
        if not replica.is_leader():
            replica.lead()
        elif self.random.random() < 0.2:
            replica.lose_leadership()

    def end(self) -> None:
        """Everything heals; then everything has to be answered."""
        self.rig.replica.release()
        if not self.rig.replica.is_leader():
            self.rig.replica.lead()
        for _ in range(60):
            self.rig.loop.advance(END_SECS / 60)
            for peer in self.peers:
                peer.pipe.drain()
        self.rig.loop.settle()


def run(seed: int) -> None:
    life = Life(seed)
    for _ in range(STEPS):
        life.step()
    life.end()
    for peer in life.peers:
        peer.read()  # asserts that nothing is answered twice
    left = [one for peer, one in life.asked if not peer.pipe.lost and one not in peer.answers]
    assert left == []
    server, alive = life.rig.server, [peer for peer in life.peers if not peer.pipe.closing]
    assert not any(peer.pipe.paused for peer in alive)
    assert all(peer.session.in_flight == peer.session.held == 0 for peer in alive)
    assert server.sessions.size == 0
    assert life.rig.failures == []
    claims = server.waiting.claims
    assert (claims.count, claims._queues, claims._numbers, claims._expected) == (0, {}, {}, {})
    assert (claims._workers, claims._leaving) == ({}, {})
    assert server.waiting.queries.count == server.waiting._clock.count == 0
    for peer in life.peers:
        peer.hang_up()
    assert len(server.links) == len(server.sessions) == 0
    life.rig.replica.machine.check()


@pytest.mark.parametrize("seed", range(8))
def test_a_random_life(seed: int) -> None:
    run(seed)
