"""Which way requests go: the log, the applied state, or a refusal; roles, growth, pushes."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

import pytest

from cluster.config.groups import ApiKey
from cluster.server.access import Access
from cluster.server.quota import REFUSAL_SECS
from taskq import commands
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.registry import MESSAGES, Sort
from taskq.results import BatchReply, Claimed, Done, Submitted, TaskState
from tests.unit.server.rig import Rig, claim, submit, task_id

FULL = refuse(ErrorCode.DISK_FULL, "the disk is nearly full", 1_000)


def test_every_message_that_a_client_may_send_has_a_handler() -> None:
    rig = Rig()
    wanted = {
        c for c, row in MESSAGES.items() if row.sort in (Sort.COMMAND, Sort.READ, Sort.CLUSTER)
    }
    assert wanted | {0x02} == set(rig.server.dispatcher.handlers)


def test_a_missing_id_is_made_here_in_batches_as_well() -> None:
    rig = Rig()
    peer = rig.peer()
    one = peer.ask(commands.SubmitTask(None, "q"))
    made = peer.ask(commands.SubmitTasks([[None, "q"], [task_id(5), "q"], [None, "q"]]))
    ids = [one.task_id, made.answers[0][1][0], made.answers[2][1][0]]
    assert len(set(ids)) == 3
    assert {UUID(bytes=made_id).version for made_id in ids} == {7}
    assert made.answers[1] == [True, [task_id(5)]]


def test_the_leader_is_asked_for_commands_and_reads_but_not_for_stale_ones() -> None:
    rig = Rig()
    peer = rig.peer()
    peer.ask(submit(1))
    rig.replica.follow("node2")
    rig.loop.settle()
    peer.read()
    assert peer.news == ["node2"]
    asked = (submit(2), claim(), commands.GetStats(), commands.RegisterWorker(b"w" * 16))
    ids = peer.send(*asked, deadline_ms=1_000)
    assert [peer.answer(request_id) for request_id in ids] == [None] * 4
    rig.loop.advance(1.1)
    for request_id in ids:
        refusal = peer.answer(request_id)
        assert (refusal.code, refusal.unknown) == ("NO_LEADER", False)
        assert refusal.retry_after_ms > 0
        assert "node2 leads" in refusal.message
    stats = peer.ask(commands.GetStats(stale=True))
    assert (stats.leader, stats.node_id, stats.applied_index) == ("node2", "node1", 1)
    assert peer.ask(commands.Ping()).leader == "node2"


def test_a_closed_disk_is_said_not_read() -> None:
    rig = Rig()
    peer = rig.peer()
    peer.ask(submit(1))
    rig.replica.closed = refuse(ErrorCode.UNAVAILABLE, "opening again", 1_000)
    for question in (
        commands.GetStats(stale=True),
        commands.ListTasks(stale=True),
        commands.QueryStatus(task_id(1), wait_ms=1_000, stale=True),
    ):
        assert peer.ask(question).code == "UNAVAILABLE"


def test_a_read_that_fails_is_refused_and_the_node_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    peer = rig.peer()

    def damaged(*_: object) -> None:
        raise OSError("a damaged block")

    monkeypatch.setattr(rig.replica.machine, "ask", damaged)
    assert peer.ask(commands.GetStats()).code == "UNAVAILABLE"
    monkeypatch.setattr(rig.replica.machine, "is_final", damaged)
    waits = commands.QueryStatus(task_id(1), wait_ms=1_000)
    assert peer.ask(waits).code == "UNAVAILABLE"
    assert [str(error) for error in rig.failures] == ["a damaged block"] * 2


def test_listings_take_turns() -> None:
    rig = Rig()
    peer = rig.peer()
    peer.ask(submit(1))
    before = rig.loop.rounds
    ids = peer.send(*[commands.ListTasks()] * 20)
    assert [len(peer.answers[i].tasks) for i in ids] == [1] * 20
    assert rig.loop.rounds - before >= 20


# --- a full disk ----------------------------------------------------------------------------------


def test_what_grows_is_refused_and_what_drains_goes_on() -> None:
    rig = Rig()
    peer = rig.peer()
    peer.send(submit(1), submit(2), submit(3))
    tokens = [task.token for task in peer.ask(claim(max_tasks=3)).tasks]
    rig.replica.full = FULL
    assert peer.ask(submit(9)) == FULL
    assert peer.ask(commands.SubmitTask(None, "q")) == FULL
    assert peer.ask(submit(1)) == Submitted(task_id(1)), "a repeat of a known id"
    large, small = b"x" * 4097, b"x" * 4096
    assert peer.ask(commands.TaskResult(task_id(1), tokens[0], True, large)) == FULL
    done = peer.ask(commands.TaskResult(task_id(1), tokens[0], True, small))
    assert done.state == TaskState.COMPLETED
    again = peer.ask(commands.TaskResult(task_id(1), tokens[0], True, large))
    assert again == done, "a repeat adds nothing, however large"
    assert peer.ask(commands.Ack(task_id(2), tokens[1])).state == TaskState.COMPLETED
    failed = commands.TaskResult(task_id(3), tokens[2], False, None, "boom", False)
    assert peer.ask(failed).state == TaskState.DEAD
    assert peer.ask(commands.RedriveDead([task_id(3)])).answers == [[False, list(FULL)]]
    assert peer.ask(commands.DeleteDead([task_id(3)])).answers == [[True, list(Done())]]
    repeat = peer.ask(submit(3))
    assert repeat == Submitted(task_id(3)), "an id that was removed lately is known, too"


def test_a_batch_is_answered_member_by_member_in_order() -> None:
    rig = Rig()
    peer = rig.peer()
    peer.send(*[submit(n) for n in (1, 2, 3)])
    tokens = [task.token for task in peer.ask(claim(max_tasks=3)).tasks]
    rig.replica.full = FULL
    no = [False, list(FULL)]
    submits = [list(submit(n)) for n in (7, 2, 8, 3)]
    reply = peer.ask(commands.SubmitTasks(submits))
    assert reply.answers == [no, [True, [task_id(2)]], no, [True, [task_id(3)]]]
    large = b"x" * 5000
    outcomes = [
        [task_id(n), token, True, large if n != 2 else b"s"]
        for n, token in zip((1, 2, 3), tokens, strict=True)
    ]
    reply = peer.ask(commands.TaskResults(outcomes))
    assert reply.answers == [no, [True, [TaskState.COMPLETED]], no]
    assert peer.session.in_flight == 0
    assert peer.session.held == peer.session.unread == 0


def test_a_batch_with_nothing_left_is_answered_without_the_log() -> None:
    rig = Rig()
    rig.replica.full = FULL
    reply = rig.peer().ask(commands.SubmitTasks([list(submit(1)), list(submit(2))]))
    assert isinstance(reply, BatchReply)
    assert reply.answers == [[False, list(FULL)]] * 2
    assert rig.replica.entries == []


def test_a_batch_whose_rest_fails_is_refused_as_a_whole() -> None:
    rig = Rig()
    peer = rig.peer()
    peer.ask(submit(1))
    rig.replica.full = FULL
    rig.replica.held = True
    (request_id,) = peer.send(commands.SubmitTasks([list(submit(1)), list(submit(2))]))
    rig.replica.lose_leadership()
    assert peer.answer(request_id).unknown


# --- who may --------------------------------------------------------------------------------------


def key_of(role: str, key: str, queues: str = "*") -> ApiKey:
    return ApiKey(hash=f"sha256:{sha256(key.encode()).hexdigest()}", role=role, queues=queues)


KEYS = Access(
    enabled=True,
    keys=[
        *(key_of("producer", "p"), key_of("worker", "w"), key_of("admin", "a")),
        key_of("admin", "some", "mail.*"),
    ],
)


def test_without_authentication_everybody_may_everything() -> None:
    peer = Rig().peer()
    assert peer.ask(commands.CreateQueue("q")) == Done()
    assert isinstance(peer.ask(claim(wait_ms=0)), Claimed)


@pytest.mark.parametrize("key", [None, "", "wrong", "pp"])
def test_with_authentication_a_stranger_is_refused_and_closed(key: str | None) -> None:
    rig = Rig(access=KEYS)
    peer = rig.peer(key=key)
    assert not peer.answers, "no delay"
    rig.loop.advance(REFUSAL_SECS)
    peer.read()
    assert peer.answers[1].code == "UNAUTHENTICATED"
    assert peer.pipe.lost


@pytest.mark.parametrize(
    ("key", "allowed", "denied"),
    [
        ("p", submit(1), claim()),
        ("w", claim(wait_ms=0), submit(1)),
        ("p", commands.GetStats(), commands.CreateQueue("q")),
        ("w", commands.Ping(), commands.PurgeQueue("q")),
        ("p", commands.GetStats(), commands.DeleteQueue("q")),
    ],
)
def test_a_role_carries_its_messages(key: str, allowed: object, denied: object) -> None:
    peer = Rig(access=KEYS).peer(key=key)
    refusal = peer.ask(denied)
    assert refusal.code == "PERMISSION_DENIED"
    assert type(denied).__name__ in refusal.message
    assert not isinstance(peer.ask(allowed), Refusal)


def test_an_admin_may_everything() -> None:
    peer = Rig(access=KEYS).peer(key="a")
    assert peer.ask(commands.CreateQueue("q")) == Done()
    assert isinstance(peer.ask(claim(wait_ms=0)), Claimed)


# --- pushes ---------------------------------------------------------------------------------------


def test_a_wanted_cancellation_is_pushed_to_where_the_worker_was_last_heard() -> None:
    rig = Rig()
    old, new, producer = rig.peer(), rig.peer(), rig.peer()
    producer.ask(submit(1))
    (task,) = old.ask(claim()).tasks
    new.ask(commands.Heartbeat(b"w" * 16, [task.token]))
    assert producer.ask(commands.CancelTask(task_id(1))).requested
    new.read()
    old.read()
    assert new.pushes == [commands.CancelRequested(task_id(1), task.token)]
    assert old.pushes == []


def test_nobody_is_pushed_to_after_the_connection_is_lost() -> None:
    rig = Rig()
    worker, producer = rig.peer(), rig.peer()
    producer.ask(submit(1))
    worker.ask(claim())
    worker.hang_up()
    assert len(rig.server.links) == 0
    assert producer.ask(commands.CancelTask(task_id(1))).requested


def test_a_deregistered_worker_is_forgotten() -> None:
    rig = Rig()
    worker = rig.peer()
    worker.ask(commands.RegisterWorker(b"w" * 16))
    assert len(rig.server.links) == 1
    worker.ask(commands.DeregisterWorker(b"w" * 16))
    assert len(rig.server.links) == 0
    worker.hang_up()


def test_made_up_worker_ids_do_not_push_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.server.pushes.WORKER_COUNT_MAX", 10)
    rig = Rig()
    honest, liar = rig.peer(), rig.peer()
    honest.ask(commands.RegisterWorker(b"h" * 16))
    for number in range(50):
        liar.send(commands.Heartbeat(task_id(number), []))
    assert len(rig.server.links) == 10
    assert b"h" * 16 in honest.session.workers
