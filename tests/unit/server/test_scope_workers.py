"""Workers of limited keys: an id that another key uses names another worker, on every node.

The ids of others are no secret: a producer sees who runs its tasks.
"""

from __future__ import annotations

from typing import Any

import pytest

from cluster.server.access import Access
from cluster.server.scope import Scope
from taskq import commands
from taskq.results import Claimed, HeartbeatReply
from tests.unit.server.rig import claim, submit, task_id
from tests.unit.server.test_scope import Alone, Behind, key_of

VICTIM = b"v" * 16
FAR = (1 << 63) - 1


def access() -> Access:
    keys = [key_of("worker", "mail", "mail.*"), key_of("worker", "sms", "sms")]
    keys += [key_of("worker", "mail again", "mail.*"), key_of("admin", "mail admin", "mail.*")]
    return Access(enabled=True, keys=[key_of("admin", "root"), *keys])


class Scene:
    """`victim` works under VICTIM: with a key for all queues, or with one for sms."""

    def __init__(self, node: Alone | Behind, key: str) -> None:
        self.node = node
        self.root, self.victim = node.peer("root"), node.peer(key)
        self.attacker = node.peer("mail")

    def submit(self, number: int, queue: str) -> None:
        self.node.ask(self.root, submit(number, queue, payload=b"secret"))

    def claimed(self, number: int, queue: str = "sms") -> list[Any]:
        answer = self.node.ask(self.victim, claim(number, queue, worker=VICTIM, wait_ms=0))
        assert isinstance(answer, Claimed), answer
        return answer.tasks

    def attack(self, command: Any) -> Any:
        return self.node.ask(self.attacker, command)

    def parked(self, peer: Any, command: Any) -> int:
        (request_id,) = peer.send(command)
        self.node.settle()
        assert peer.answer(request_id) is None
        return request_id


@pytest.fixture(params=["alone root", "behind root", "alone sms", "behind sms"])
def scene(request: pytest.FixtureRequest) -> Scene:
    where, key = request.param.split()
    return Scene((Alone if where == "alone" else Behind)(access()), key)


def test_a_waiting_claim_under_the_victims_next_number_gets_nothing_of_its(scene: Scene) -> None:
    waiting = scene.parked(scene.attacker, claim(1, "mail.none", worker=VICTIM))
    scene.submit(1, "sms")
    assert [task.task_id for task in scene.claimed(1)] == [task_id(1)]
    scene.node.settle()
    assert scene.attacker.answer(waiting) is None
    # Nor when it is woken by a task of its own queue.
    scene.submit(2, "mail.none")
    scene.node.settle()
    assert [task.task_id for task in scene.attacker.answer(waiting).tasks] == [task_id(2)]


def test_nobody_moves_the_victims_numbers(scene: Scene) -> None:
    scene.submit(1, "sms")
    scene.submit(2, "sms")
    scene.claimed(1)
    scene.attack(commands.Heartbeat(VICTIM, [], FAR))
    scene.attack(claim(FAR, "mail.none", worker=VICTIM, wait_ms=0))
    assert [task.task_id for task in scene.claimed(2)] == [task_id(2)]


def test_nobody_says_the_victims_farewell(scene: Scene) -> None:
    waiting = scene.parked(scene.victim, claim(1, "sms", worker=VICTIM))
    scene.attack(commands.DeregisterWorker(VICTIM))
    assert scene.victim.answer(waiting) is None
    scene.submit(1, "sms")
    scene.node.settle()
    assert [task.task_id for task in scene.victim.answer(waiting).tasks] == [task_id(1)]


def test_nobody_locks_the_victim_out(scene: Scene) -> None:
    scene.submit(1, "sms")
    scene.submit(2, "mail.x")
    (task,) = scene.claimed(1)
    assert len(scene.attack(claim(2, "mail.x", worker=VICTIM, wait_ms=0)).tasks) == 1
    beat = commands.Heartbeat(VICTIM, [task.token])
    assert scene.node.ask(scene.victim, beat) == HeartbeatReply([], [])


def test_nobody_moves_the_victims_pushes(scene: Scene) -> None:
    scene.submit(1, "sms")
    scene.claimed(1)
    for command in (commands.Heartbeat(VICTIM, []), commands.DeregisterWorker(VICTIM)):
        scene.attack(command)
    scene.node.ask(scene.root, commands.CancelTask(task_id(1)))
    scene.node.settle()
    for peer in (scene.victim, scene.attacker):
        peer.read()
    assert [push.task_id for push in scene.victim.pushes] == [task_id(1)]
    assert scene.attacker.pushes == []


@pytest.mark.parametrize("node", [Alone, Behind])
def test_keys_of_one_pattern_share_their_workers(node: Any) -> None:
    """A key that is rolled over: the worker goes on."""
    place = node(access())
    root, first, second = (place.peer(key) for key in ("root", "mail", "mail again"))
    place.ask(root, submit(1, "mail.x"))
    (task,) = place.ask(first, claim(1, "mail.x", worker=VICTIM, wait_ms=0)).tasks
    again = place.ask(second, claim(1, "mail.x", worker=VICTIM, wait_ms=0))
    assert [one.token for one in again.tasks] == [task.token]
    assert place.ask(second, commands.Heartbeat(VICTIM, [task.token])) == HeartbeatReply([], [])


def test_a_worker_is_the_same_through_every_node_and_leader() -> None:
    place = Behind(access())
    root = place.peer("root")
    place.ask(root, submit(1, "mail.x"))
    behind, ahead = place.peer("mail"), place.group["n1"].peer(key="mail")
    (task,) = place.ask(behind, claim(1, "mail.x", worker=VICTIM, wait_ms=0)).tasks
    again = place.ask(ahead, claim(1, "mail.x", worker=VICTIM, wait_ms=0))
    assert [one.token for one in again.tasks] == [task.token]
    # The one that passed it on leads now.
    place.group.elect("n2")
    place.group.settle()
    for peer in (behind, ahead):
        again = place.ask(peer, claim(1, "mail.x", worker=VICTIM, wait_ms=0))
        assert [one.token for one in again.tasks] == [task.token]


@pytest.mark.parametrize("node", [Alone, Behind])
def test_a_limited_key_is_shown_the_workers_of_its_pattern(node: Any) -> None:
    place = node(access())
    root, admin = place.peer("root"), place.peer("mail admin")
    place.ask(root, commands.RegisterWorker(VICTIM, "root's"))
    place.ask(place.peer("sms"), commands.RegisterWorker(VICTIM, "of sms"))
    place.ask(place.peer("mail"), commands.RegisterWorker(VICTIM, "of mail"))
    shown = place.ask(admin, commands.ListWorkers()).workers
    assert [one.name for one in shown] == ["of mail"]
    assert place.ask(admin, commands.GetStats()).workers == 1
    # What else tells of it calls it the same.
    place.ask(root, submit(1, "mail.x"))
    place.ask(place.peer("mail"), claim(1, "mail.x", worker=VICTIM, wait_ms=0))
    told = place.ask(admin, commands.QueryStatus(task_id(1))).worker
    assert told == shown[0].worker_id.hex()
    assert {one.name for one in place.ask(root, commands.ListWorkers()).workers} == {
        "root's",
        "of sms",
        "of mail",
    }


def test_no_id_of_one_scope_is_one_of_another() -> None:
    first, second = Scope("mail.*"), Scope("mail.?*")
    for number in range(100):
        worker_id = number.to_bytes(16, "big")
        for known in (worker_id, first.known_as(worker_id), second.known_as(worker_id)):
            assert first.holds(first.known_as(known))
            assert not first.holds(second.known_as(known))
    assert len({first.known_as(number.to_bytes(16, "big")) for number in range(100)}) == 100


@pytest.mark.parametrize("key", ["root", "mail"])
@pytest.mark.parametrize("node", [Alone, Behind])
def test_a_claim_cannot_say_that_its_own_answer_came(node: Any, key: str) -> None:
    place = node(access())
    peer = place.peer(key)
    refusal = place.ask(peer, commands.ClaimTask(VICTIM, 2, 3, ["mail.x"]))
    assert refusal.code == "INVALID_REQUEST"
    assert "lowest_unanswered" in refusal.message
