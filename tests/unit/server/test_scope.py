"""Keys that are limited to some queues: every message, here and through a node that does not lead.

What belongs to another queue is answered as what is not there.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from cluster.config.groups import ApiKey
from cluster.server.access import Access
from cluster.server.scope import LIMITED_CODES, MEMBER_RULES, RULES, Scope
from taskq import commands
from taskq.errors import Refusal
from taskq.registry import MESSAGES, Role, Sort
from taskq.results import CancelReply, Claimed, Done, OutcomeReply, Submitted, TaskState
from tests.unit.server.group import Group
from tests.unit.server.rig import Peer, Rig, claim, submit, task_id

OURS, THEIRS = "mail.out", "sms"
# Tasks by number: waiting, leased and dead ones in both queues.
OUR_WAITING, OUR_LEASED, OUR_DEAD = 1, 2, 3
THEIR_WAITING, THEIR_LEASED, THEIR_DEAD = 11, 12, 13
NOBODYS = 99
OUR_WORKER, THEIR_WORKER = b"o" * 16, b"t" * 16


def key_of(role: Any, key: str, queues: str = "*") -> ApiKey:
    return ApiKey(hash=f"sha256:{sha256(key.encode()).hexdigest()}", role=role, queues=queues)


def submits(*tasks: Any) -> commands.SubmitTasks:
    """Members of batches stay lists, as they came."""
    return commands.SubmitTasks(list(tasks))


def outcomes(*ended: Any) -> commands.TaskResults:
    return commands.TaskResults(list(ended))


def access() -> Access:
    keys = [key_of(role, f"mail {role}", "mail.*") for role in ("producer", "worker", "admin")]
    return Access(enabled=True, keys=[key_of("admin", "root"), *keys])


class Alone:
    """One node, asked directly."""

    def __init__(self, keys: Access | None = None) -> None:
        self.rig = Rig(access=keys or access())

    def peer(self, key: str) -> Peer:
        return self.rig.peer(key=key)

    def ask(self, peer: Peer, command: Any) -> Any:
        return peer.ask(command)

    def settle(self) -> None:
        self.rig.loop.settle()


class Behind:
    """A node that does not lead, and passes on what needs the leader."""

    def __init__(self, keys: Access | None = None) -> None:
        self.group = Group(access=keys or access())
        self.group.elect("n1")
        self.group.settle()

    def peer(self, key: str) -> Peer:
        return self.group["n2"].peer(key=key)

    def ask(self, peer: Peer, command: Any) -> Any:
        (request_id,) = peer.send(command)
        self.group.settle()
        return peer.answer(request_id)

    def settle(self) -> None:
        self.group.settle()


class Filled:
    """`node` with tasks in both queues. `limited` has a key for mail.* with the role admin."""

    def __init__(self, node: Alone | Behind) -> None:
        self.node = node
        self.root = node.peer("root")
        self.limited = node.peer("mail admin")
        for queue, leased, dead, waiting, worker, peer in (
            (OURS, OUR_LEASED, OUR_DEAD, OUR_WAITING, OUR_WORKER, self.limited),
            (THEIRS, THEIR_LEASED, THEIR_DEAD, THEIR_WAITING, THEIR_WORKER, self.root),
        ):
            node.ask(self.root, submit(dead, queue, max_retries=0))
            (task,) = self.claimed(peer, worker, 1, queue)
            node.ask(self.root, commands.TaskResult(task_id(dead), task.token, ok=False))
            node.ask(self.root, submit(leased, queue))
            self.claimed(peer, worker, 2, queue)
            node.ask(self.root, submit(waiting, queue))

    def claimed(self, peer: Peer, worker: bytes, number: int, queue: str) -> list[Any]:
        answer = self.node.ask(peer, claim(number, queue, worker=worker, wait_ms=0))
        assert isinstance(answer, Claimed), answer
        return answer.tasks

    def token(self, number: int) -> int:
        return int(self.node.ask(self.root, commands.QueryStatus(task_id(number))).token)

    def ask(self, command: Any) -> Any:
        return self.node.ask(self.limited, command)

    def everything(self) -> Any:
        """All tasks as the admin sees them."""
        return self.node.ask(self.root, commands.ListTasks())


@pytest.fixture(params=[Alone, Behind])
def filled(request: pytest.FixtureRequest) -> Filled:
    return Filled(request.param())


# --- every message has a rule ---------------------------------------------------------------------


def test_every_message_has_a_rule_or_is_about_the_whole_cluster() -> None:
    """A new message gets its rule in `scope.py` and its case below: without one, limited keys may
    not send it."""
    asked = {Sort.COMMAND, Sort.READ, Sort.CLUSTER}
    for row in MESSAGES.values():
        if row.sort in asked and not (row.sort is Sort.CLUSTER and row.role is Role.ADMIN):
            assert row.shape in RULES or row.shape in MEMBER_RULES, row.name
    assert not RULES.keys() & MEMBER_RULES.keys()


def test_every_rule_has_a_case() -> None:
    cases = {type(command) for command, _ in [*DENIED, *BY_TASK, *BY_MEMBER]} | {
        type(command) for command in OPEN
    }
    assert cases == RULES.keys() | MEMBER_RULES.keys()


# Says nothing of any queue, or is cut to the key's queues (below), or is about a worker
# (`test_scope_workers.py`).
OPEN = [
    *(commands.Ping(), commands.GetCluster(), commands.GetStats()),
    *(commands.ListQueues(), commands.ListWorkers()),
    *(commands.RegisterWorker(OUR_WORKER), commands.Heartbeat(OUR_WORKER, [])),
    commands.DeregisterWorker(OUR_WORKER),
]


@pytest.mark.parametrize("command", OPEN, ids=lambda command: type(command).__name__)
def test_what_names_no_queue_is_answered(filled: Filled, command: Any) -> None:
    assert not isinstance(filled.ask(command), Refusal)


# --- queues by name -------------------------------------------------------------------------------

DENIED = [
    (submit(5, THEIRS), THEIRS),
    (submit(5, "MAIL.out"), "MAIL.out"),
    (claim(1, THEIRS, worker=OUR_WORKER, wait_ms=0), THEIRS),
    (claim(1, OURS, THEIRS, worker=OUR_WORKER), THEIRS),
    (commands.CreateQueue(THEIRS), THEIRS),
    (commands.PauseQueue(THEIRS), THEIRS),
    (commands.ResumeQueue(THEIRS), THEIRS),
    (commands.PurgeQueue(THEIRS), THEIRS),
    (commands.DeleteQueue(THEIRS), THEIRS),
    (commands.ListTasks(THEIRS), THEIRS),
    (commands.ListTasks(THEIRS, stale=True), THEIRS),
    (commands.ListDead(THEIRS), THEIRS),
]


@pytest.mark.parametrize(("command", "named"), DENIED, ids=lambda v: type(v).__name__)
def test_another_queue_is_refused_by_name(filled: Filled, command: Any, named: str) -> None:
    before = filled.everything()
    refusal = filled.ask(command)
    assert refusal.code == "PERMISSION_DENIED"
    assert named in refusal.message
    assert filled.everything() == before


ALLOWED = [
    (submit(5, OURS), Submitted),
    (claim(9, OURS, worker=OUR_WORKER, wait_ms=0), Claimed),
    (claim(2, OURS, worker=OUR_WORKER, wait_ms=0), Claimed),
    (commands.CreateQueue("mail.in"), Done),
    (commands.PauseQueue(OURS), Done),
]


@pytest.mark.parametrize(("command", "reply"), ALLOWED, ids=lambda v: type(v).__name__)
def test_the_own_queues_are_open(filled: Filled, command: Any, reply: type) -> None:
    assert isinstance(filled.ask(command), reply)


# --- tasks by id ----------------------------------------------------------------------------------

# (what is asked of a task, its number): the token is put in where there is one.
BY_TASK = [
    (commands.QueryStatus(b""), THEIR_WAITING),
    (commands.QueryStatus(b"", stale=True), THEIR_WAITING),
    (commands.QueryStatus(b"", wait_ms=5_000), THEIR_LEASED),
    (commands.CancelTask(b""), THEIR_WAITING),
    (commands.CancelTask(b"", force=True), THEIR_LEASED),
    (commands.TaskResult(b"", 0, ok=True), THEIR_LEASED),
    (commands.Ack(b"", 0), THEIR_LEASED),
    (commands.Nack(b"", 0), THEIR_LEASED),
    (commands.ExtendLease(b"", 0), THEIR_LEASED),
]


def about(command: Any, number: int, token: int) -> Any:
    command = command._replace(task_id=task_id(number))
    return command._replace(token=token) if hasattr(command, "token") else command


@pytest.mark.parametrize(("command", "number"), BY_TASK, ids=lambda v: type(v).__name__)
def test_a_task_of_another_queue_is_not_told_from_one_that_is_not_there(
    filled: Filled, command: Any, number: int
) -> None:
    token = filled.token(number)
    before = filled.everything()
    answer = filled.ask(about(command, number, token))
    assert answer.code == "NOT_FOUND"
    nobodys = filled.ask(about(command, NOBODYS, token))
    ids = [format(task_id(one).hex()) for one in (number, NOBODYS)]
    said, unknown = (text.replace("-", "") for text in (answer.message, nobodys.message))
    assert said.replace(ids[0], ids[1]) == unknown
    assert filled.everything() == before


def test_an_own_task_is_cancelled_looked_at_and_ended(filled: Filled) -> None:
    assert filled.ask(commands.QueryStatus(task_id(OUR_WAITING))).state == TaskState.READY
    ended = commands.Ack(task_id(OUR_LEASED), filled.token(OUR_LEASED))
    assert filled.ask(ended) == OutcomeReply(TaskState.COMPLETED)
    cancelled = CancelReply(TaskState.CANCELLED, requested=False)
    assert filled.ask(commands.CancelTask(task_id(OUR_WAITING))) == cancelled


# --- batches: each member has its own answer ------------------------------------------------------

BY_MEMBER = [
    (submits([task_id(21), THEIRS], [task_id(22), OURS]), "PERMISSION_DENIED"),
    (outcomes([THEIR_LEASED], [OUR_LEASED]), "NOT_FOUND"),
    (commands.RedriveDead([task_id(THEIR_DEAD), task_id(OUR_DEAD)]), "NOT_FOUND"),
    (commands.DeleteDead([task_id(THEIR_DEAD), task_id(OUR_DEAD)]), "NOT_FOUND"),
]


@pytest.mark.parametrize(("batch", "code"), BY_MEMBER, ids=lambda v: type(v).__name__)
def test_a_batch_is_refused_member_by_member(filled: Filled, batch: Any, code: str) -> None:
    if isinstance(batch, commands.TaskResults):
        numbers: list[Any] = [one[0] for one in batch.outcomes]
        batch = outcomes(*[[task_id(n), filled.token(n), True] for n in numbers])
    theirs, ours = filled.ask(batch).answers
    assert (theirs[0], theirs[1][0]) == (False, code)
    assert ours[0], ours
    left = {task.task_id: task.state for task in filled.everything().tasks}
    assert task_id(21) not in left
    assert left[task_id(THEIR_LEASED)] == TaskState.LEASED
    assert left[task_id(THEIR_DEAD)] == TaskState.DEAD


def test_a_batch_with_nothing_allowed_never_reaches_the_log(filled: Filled) -> None:
    answers = filled.ask(submits([task_id(21), THEIRS], [task_id(22), "x"])).answers
    assert [answer[1][0] for answer in answers] == ["PERMISSION_DENIED"] * 2


# --- listings and counts --------------------------------------------------------------------------


def test_listings_hold_the_own_queues_alone(filled: Filled) -> None:
    tasks = filled.ask(commands.ListTasks()).tasks
    assert {task.queue for task in tasks} == {OURS}
    assert len(tasks) == 3
    assert [task.task_id for task in filled.ask(commands.ListDead()).tasks] == [task_id(OUR_DEAD)]
    assert [queue.name for queue in filled.ask(commands.ListQueues()).queues] == [OURS]
    workers = filled.ask(commands.ListWorkers()).workers
    assert [one.worker_id for one in workers] == [Scope("mail.*").known_as(OUR_WORKER)]


def test_counts_are_those_of_the_own_queues(filled: Filled) -> None:
    stats = filled.ask(commands.GetStats())
    assert stats.states == {"scheduled": 0, "ready": 1, "leased": 1, "retrying": 0, "dead": 1}
    assert (stats.queues, stats.workers, stats.totals) == (1, 1, {})
    assert (stats.waiting_size, stats.finished_size, stats.dead_size) == (0, 0, 0)


def test_listings_go_on_past_what_is_not_shown() -> None:
    rig = Rig(access=access())
    root, limited = rig.peer(key="root"), rig.peer(key="mail producer")
    for number in range(1, 40):
        root.ask(submit(number, OURS if number % 4 == 0 else f"{THEIRS}{number % 2}"))
    found, after = [], None
    while True:
        page = limited.ask(commands.ListTasks(after=after, limit=2))
        found += [task.task_id for task in page.tasks]
        if (after := page.after) is None:
            break
    assert found == [task_id(number) for number in range(4, 40, 4)]


# --- what is pushed, what waits -------------------------------------------------------------------


def test_under_a_strangers_worker_id_no_push_tells_of_another_queue() -> None:
    rig = Rig(access=access())
    root, limited = rig.peer(key="root"), rig.peer(key="mail worker")
    root.ask(submit(1, THEIRS))
    root.ask(claim(1, THEIRS, worker=THEIR_WORKER))
    limited.ask(commands.Heartbeat(THEIR_WORKER, []))
    root.ask(commands.CancelTask(task_id(1)))
    limited.read()
    assert limited.pushes == []


def test_the_own_pushes_arrive(filled: Filled) -> None:
    filled.ask(commands.Heartbeat(OUR_WORKER, []))
    filled.node.ask(filled.root, commands.CancelTask(task_id(OUR_LEASED)))
    filled.limited.read()
    assert [push.task_id for push in filled.limited.pushes] == [task_id(OUR_LEASED)]


def test_a_claim_that_waits_is_one_of_the_own_queues(filled: Filled) -> None:
    (waiting,) = filled.limited.send(claim(1, "mail.in", worker=b"n" * 16))
    filled.node.ask(filled.root, submit(31, THEIRS))
    assert filled.limited.answer(waiting) is None
    filled.node.ask(filled.root, submit(32, "mail.in"))
    answer = filled.limited.answer(waiting)
    assert [task.task_id for task in answer.tasks] == [task_id(32)]


# --- roles beside scopes --------------------------------------------------------------------------


def test_what_concerns_the_whole_cluster_needs_a_key_without_a_limit(filled: Filled) -> None:
    for command in (commands.TransferLeadership(""), commands.BeginBackup()):
        refusal = filled.ask(command)
        assert refusal.code == "PERMISSION_DENIED"
        assert "all queues" in refusal.message
    for row in MESSAGES.values():
        if row.sort is Sort.CLUSTER and row.role is Role.ADMIN:
            assert row.code not in LIMITED_CODES, row.name


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("mail producer", claim(1, OURS, wait_ms=0)),
        ("mail producer", commands.PauseQueue(OURS)),
        ("mail worker", submit(5, OURS)),
        ("mail worker", commands.ListQueues()),
    ],
)
def test_a_limited_key_has_its_role_only(filled: Filled, key: str, command: Any) -> None:
    refusal = filled.node.ask(filled.node.peer(key), command)
    assert refusal.code == "PERMISSION_DENIED"


def test_requests_of_several_keys_are_not_mixed_up_on_their_way() -> None:
    """In one message between nodes: each request keeps the limit of the key it came with."""
    group = Group(access=access())
    group.elect("n1")
    group.settle()
    root, limited = group["n2"].peer(key="root"), group["n2"].peer(key="mail admin")
    sent = []
    for number in range(1, 21):
        peer = limited if number % 3 == 0 else root
        queue = OURS if number % 2 else THEIRS
        pairs = peer.connection.request(submit(number, queue))
        peer.session.data_received(pairs[1])
        sent.append((peer, pairs[0], peer is root or queue == OURS))
    group.settle()
    assert len([1 for sender, _, _ in group.messages if sender == "n2"]) < 5, "no message shared"
    for peer, request_id, allowed in sent:
        assert isinstance(peer.answer(request_id), Submitted) == allowed
