"""Random lives of three nodes and their clients: leaders change, connections break, messages take
their time, nodes believe what is no longer true.

Whatever happens: no request is answered twice, none on a living connection is left unanswered, none
is carried out twice because it was passed on, and what was said about it is true.

A failure prints its seed: `run(seed)` is the same life again.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from cluster.server import forward_stream, remote_session
from taskq import commands
from taskq.errors import Refusal
from taskq.results import Submitted
from tests.unit.server.group import NAMES, Group
from tests.unit.server.rig import Peer, claim, submit, task_id

STEPS = 250
QUEUES = ("a", "b")
# Longer than any wait or deadline below, so that everything has ended.
END_SECS = 90


class Life:
    """One random life. `asked`: (peer, request id, command)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.group = Group(
            delay=self.random.choice([0.0, 0.0002, 0.02]),
            request_count_max=self.random.choice([20, 1000]),
            node_size_max=self.random.choice([400_000, 256 * 1024**2]),
            waiting_count_max=self.random.choice([20, 1000]),
            idle_secs=10_000,
        )
        self.peers: list[Peer] = []
        self.asked: list[tuple[Peer, int, Any]] = []
        self.submits = 0
        self.numbers: dict[bytes, int] = {}
        self.counts: dict[str, int] = {}

    def step(self) -> None:
        moves = [self.connect, self.wait, self.elect, self.tell, self.cut, self.hold]
        moves += [self.ask] * 8 + [self.wait] * 3
        moves += [self.mend, self.hang_up, self.block, self.depose]
        move = self.random.choice(moves)
        self.counts[move.__name__] = self.counts.get(move.__name__, 0) + 1
        move()
        self.group.loop.settle()

    def node(self) -> str:
        return self.random.choice(NAMES)

    # --- clients ----------------------------------------------------------------------------------

    def connect(self) -> None:
        if len(self.peers) < 12:
            self.peers.append(self.group[self.node()].peer())

    def alive(self) -> Peer | None:
        self.peers = [peer for peer in self.peers if not peer.pipe.closing]
        return self.random.choice(self.peers) if self.peers else None

    def ask(self) -> None:
        peer = self.alive()
        if peer is not None and not peer.pipe.paused:
            made = [self.command() for _ in range(self.random.randint(1, 9))]
            deadline_ms = self.random.choice([0, 0, 0, 50, 3_000])
            ids = peer.send(*made, deadline_ms=deadline_ms)
            self.asked += [(peer, *pair) for pair in zip(ids, made, strict=True)]

    def command(self) -> Any:
        queue = self.random.choice(QUEUES)
        worker = task_id(self.random.randint(1, 4))
        self.numbers[worker] = self.numbers.get(worker, 0) + 1
        self.submits += 1
        known = task_id(self.random.randint(1, self.submits))
        return self.random.choice(
            [
                submit(self.submits, queue, payload=bytes(self.random.choice([0, 10, 30_000]))),
                submit(self.submits, queue),
                claim(self.numbers[worker], queue, worker=worker, wait_ms=20_000),
                claim(self.numbers[worker], *QUEUES, worker=worker, wait_ms=0, max_tasks=3),
                commands.QueryStatus(known, self.random.choice([0, 5_000])),
                commands.QueryStatus(known, 2_000, stale=True),
                commands.CancelTask(known),
                commands.ListTasks(limit=20),
                commands.GetStats(),
            ]
        )

    def hang_up(self) -> None:
        peer = self.alive()
        if peer is not None and self.random.random() < 0.5:
            peer.hang_up()

    # --- nodes ------------------------------------------------------------------------------------

    def wait(self) -> None:
        self.group.settle(self.random.choice([0.0001, 0.003, 0.1, 1.0]))

    def elect(self) -> None:
        old, new = self.group.leader, self.node()
        if old and self.random.random() < 0.5:
            self.group.replica(old).step_down(committed=self.random.random() < 0.5)
        if self.random.random() < 0.3:
            self.group.tell("", *self.random.sample(NAMES, 2))
        if self.random.random() < 0.8:
            self.group.elect(new, tell=self.random.random() < 0.6)

    def tell(self) -> None:
        """Some nodes hear the truth, or believe what was true once."""
        believed = self.random.choice([self.group.leader, self.group.leader, self.node(), ""])
        self.group.tell(believed, *self.random.sample(NAMES, self.random.randint(1, 3)))

    def depose(self) -> None:
        """The leader hangs, and others go on without it."""
        old = self.group.leader
        if old:
            self.group.replica(old).held = True
            new = self.random.choice([name for name in NAMES if name != old])
            self.group.settle(self.random.choice([0.001, 0.2]))
            self.group.replica(old).step_down(committed=self.random.random() < 0.5)
            self.group.elect(new)

    def cut(self) -> None:
        one, other = self.random.sample(NAMES, 2)
        self.group.cut(one, other, back=self.random.random() < 0.7)

    def mend(self) -> None:
        self.group.mend()

    def block(self) -> None:
        one, other = self.random.sample(NAMES, 2)
        self.group.full.add((one, other))

    def hold(self) -> None:
        replica = self.group.replica(self.node())
        replica.held = not replica.held
        if not replica.held:
            replica.release()

    def end(self) -> None:
        """Everything heals; then everything has to be answered."""
        self.group.mend()
        for name in NAMES:
            self.group.replica(name).release()
        self.group.elect(self.group.leader or self.node())
        for _ in range(60):
            self.group.settle(END_SECS / 60)


def run(seed: int) -> Life:
    life = Life(seed)
    for _ in range(STEPS):
        life.step()
    life.end()
    for peer in life.peers:
        peer.read()  # asserts that nothing is answered twice
    left = [
        (request_id, command)
        for peer, request_id, command in life.asked
        if not peer.pipe.lost and request_id not in peer.answers
    ]
    assert left == []
    check_truth(life)
    check_nothing_is_held(life)
    return life


def check_truth(life: Life) -> None:
    """What was answered agrees with the log."""
    times: dict[bytes, int] = {}
    for one in life.group.carried_out(commands.SubmitTask):
        times[one.id] = times.get(one.id, 0) + 1
    assert max(times.values(), default=1) == 1, "carried out twice"
    for peer, request_id, command in life.asked:
        answer = peer.answers.get(request_id)
        if type(command) is not commands.SubmitTask or answer is None:
            continue
        if isinstance(answer, Submitted):
            assert times.get(command.id) == 1, "acknowledged and not in the log"
        else:
            assert isinstance(answer, Refusal)
            assert answer.unknown or command.id not in times, f"refused and carried out: {answer}"


def check_nothing_is_held(life: Life) -> None:
    for name in NAMES:
        server = life.group[name].server
        assert server.forwarding.held_count == server.forwarding.under_way_count == 0
        assert not server.forwarding._held.queue
        assert server.waiting.claims.count == server.waiting.queries.count == 0
        assert server.waiting._clock.count == 0
        assert server.waiting.claims._expected == {}
        for session in (*server.sessions.all(), *server.remotes.all()):
            assert session.in_flight == session.reserved == 0
            assert session.held == session.unread
            assert not session.forwarded
            assert not list(session.parked)
            assert not session.backlog
            assert not session.deferred
        for session in server.remotes.all():
            assert session._open == session._dropped == set()
        assert server.sessions.size == sum(
            session.weight() for session in (*server.sessions.all(), *server.remotes.all())
        )


@pytest.mark.parametrize("seed", range(12))
def test_a_random_life(seed: int) -> None:
    run(seed)


def test_a_random_life_with_small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_stream, "WINDOW_SIZE", 40_000)
    monkeypatch.setattr(forward_stream, "CONFIRM_SIZE", 1_000)
    monkeypatch.setattr(remote_session, "ANSWER_WINDOW_SIZE", 20_000)
    for seed in range(100, 104):
        run(seed)


def test_the_lives_are_eventful() -> None:
    life = run(1)
    answers = [peer.answers.get(request_id) for peer, request_id, _ in life.asked]
    refusals = [one for one in answers if isinstance(one, Refusal)]
    assert any(one.unknown for one in refusals)
    assert sum(isinstance(one, Submitted) for one in answers) > 20
    assert sum(rig.server.counters.forwarded for rig in life.group.rigs.values()) > 100
