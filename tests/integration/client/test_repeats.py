"""What the client repeats, and what it says when it cannot know."""

from __future__ import annotations

import asyncio

import pytest

from taskq import (
    AsyncClient,
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    QueueFull,
    TaskCancelled,
    TaskFailed,
    Unavailable,
)
from taskq import commands as c
from taskq import results as r
from taskq.errors import ErrorCode, Refusal, refuse
from tests.integration.client.scripted_node import Drop, ScriptedNode, Silent, view_of

FULL = refuse(ErrorCode.QUEUE_FULL, "100000 tasks are waiting", 50)


def in_turn(kind, *actions):
    """A script that does one thing after the other with the commands of a kind, then behaves."""
    rest = list(actions)
    return lambda command: rest.pop(0) if isinstance(command, kind) and rest else None


async def test_a_lost_answer_makes_one_task():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = in_turn(c.SubmitTask, Drop(carried_out=True))
        handle = await client.submit("q", b"x")
        assert list(node.tasks) == [handle.id.bytes]
        assert node.count(c.SubmitTask) == 2


async def test_a_lost_request_is_carried_out_by_the_repeat():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = in_turn(c.SubmitTask, Drop(carried_out=False), Drop(carried_out=False))
        handle = await client.submit("q", b"x")
        assert list(node.tasks) == [handle.id.bytes]
        assert node.count(c.SubmitTask) == 3


async def test_every_pipelined_call_survives_a_lost_connection_in_order():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        seen = []

        def script(command):
            seen.append(command)
            return Drop(carried_out=False) if len(seen) == 50 else None

        node.script = script
        handles = await asyncio.gather(*(client.submit("q", b"%d" % n) for n in range(200)))
        assert set(node.tasks) == {handle.id.bytes for handle in handles}
        repeated = [int(command.payload) for command in seen[50:]]
        assert repeated == sorted(repeated)
        assert repeated[0] <= 49


async def test_what_was_sent_goes_before_what_waits():
    async with ScriptedNode(requests_in_flight_max=8) as node, AsyncClient(node.url) as client:
        dropped = []

        def script(command):
            if len(node.received) == 12:
                dropped.append(None)
                return Drop(carried_out=False)
            return None

        node.script = script
        await asyncio.gather(*(client.submit("q", b"%d" % n) for n in range(50)))
        order = [int(task.payload) for task in node.tasks.values()]
        assert dropped
        assert order == list(range(50))


async def test_without_any_node_nothing_was_sent(unused_tcp_port):
    async with AsyncClient(f"taskq://127.0.0.1:{unused_tcp_port}", timeout=0.3) as client:
        with pytest.raises(ConnectionFailed, match=r"not sent within 0.3 s.*[Rr]efused"):
            await client.submit("q")


async def test_a_request_that_nobody_answers_is_unknown():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=0.2) as client:
        node.script = lambda command: Silent()
        with pytest.raises(OutcomeUnknown, match="may have been carried out"):
            await client.submit("q")


async def test_a_question_that_nobody_answers_is_no_unknown_outcome():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=0.2) as client:
        node.script = lambda command: Silent()
        with pytest.raises(ConnectionFailed, match=r"no answer within 0\.2 s"):
            await client.stats()


async def test_a_node_that_goes_away_for_good_leaves_the_outcome_unknown():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=0.4) as client:

        def script(command):
            node.server.close()
            return Drop(carried_out=True)

        node.script = script
        with pytest.raises(OutcomeUnknown):
            await client.submit("q")


async def test_a_refusal_of_a_first_attempt_is_raised_at_once():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = in_turn(c.SubmitTask, FULL)
        with pytest.raises(QueueFull) as caught:
            await client.submit("q")
        assert caught.value.retry_after == 0.05
        assert node.count(c.SubmitTask) == 1


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (FULL, OutcomeUnknown),
        (refuse(ErrorCode.PERMISSION_DENIED, "no"), OutcomeUnknown),
        (refuse(ErrorCode.PAYLOAD_TOO_LARGE, "too large"), InvalidRequest),
    ],
)
async def test_a_refusal_after_an_unknown_attempt(refusal, error):
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = in_turn(c.SubmitTask, Drop(carried_out=True), refusal)
        with pytest.raises(error):
            await client.submit("q")


async def test_a_batch_is_doubted_member_by_member():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = in_turn(c.SubmitTasks, Drop(carried_out=False))
        node.member_script = lambda task: FULL if task.payload == b"2" else None
        specs = [{"queue": "q", "payload": b"%d" % n} for n in range(3)]
        first, second, third = await client.submit_many([*specs[:2], {"queue": "no way"}])
        assert (first.id.bytes in node.tasks, second.id.bytes in node.tasks) == (True, True)
        assert isinstance(third, InvalidRequest)
        node.script = in_turn(c.SubmitTasks, Drop(carried_out=False))
        _, _, full = await client.submit_many(specs)
        assert isinstance(full, OutcomeUnknown)
        _, _, full = await client.submit_many(specs)
        assert isinstance(full, QueueFull)


async def test_a_repeated_delete_that_finds_nothing_is_unknown():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.member_script = lambda task_id: refuse(ErrorCode.NOT_FOUND, "no such dead task")
        assert isinstance((await client.delete_dead([b"0" * 16]))[0], NotFound)
        node.script = in_turn(c.DeleteDead, Drop(carried_out=True))
        assert isinstance((await client.delete_dead([b"0" * 16]))[0], OutcomeUnknown)


async def test_no_leader_is_waited_out():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        refusal = refuse(ErrorCode.NO_LEADER, "an election is on", 20)
        node.script = in_turn(c.SubmitTask, refusal, refusal)
        await client.submit("q")
        assert len(node.tasks) == 1


async def test_no_leader_until_the_deadline_is_said_so():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=0.3) as client:
        node.script = lambda command: refuse(ErrorCode.NO_LEADER, "an election is on", 200)
        with pytest.raises(Unavailable, match="an election is on"):
            await client.submit("q")


async def test_an_unknown_outcome_told_by_the_node_is_repeated():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=0.5) as client:
        lost = Refusal(ErrorCode.UNAVAILABLE.value, "the leader was lost", 10, True)
        node.script = in_turn(c.SubmitTask, lost)
        await client.submit("q")
        assert node.count(c.SubmitTask) == 2
        node.script = lambda command: lost
        with pytest.raises(OutcomeUnknown):
            await client.submit("q")


async def test_room_is_waited_for_where_asked():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = in_turn(c.SubmitTask, FULL, FULL)
        await client.submit("q", retry_full=True)
        assert node.count(c.SubmitTask) == 3
        fulls = [FULL, FULL]
        node.member_script = lambda task: fulls.pop() if fulls else None
        handles = await client.submit_many([{"queue": "q"}] * 3, retry_full=True)
        assert all(handle.id.bytes in node.tasks for handle in handles)


async def test_a_full_queue_is_told_at_the_deadline():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=0.3) as client:
        node.script = lambda command: FULL._replace(retry_after_ms=200)
        with pytest.raises(QueueFull):
            await client.submit("q", retry_full=True)
        assert node.count(c.SubmitTask) == 2


async def test_a_wrong_key_ends_all_calls_at_once():
    async with ScriptedNode() as node:
        node.greeting = refuse(ErrorCode.UNAUTHENTICATED, "a wrong key")
        async with AsyncClient(f"taskq://SECRET@{node.address}") as client:
            errors = await asyncio.gather(
                *(client.submit("q") for _ in range(3)), return_exceptions=True
            )
            assert all(isinstance(error, PermissionDenied) for error in errors)
            assert len({id(error) for error in errors}) == 3
            assert "SECRET" not in repr(client) + str(errors)
        assert node.hellos[0].key == "SECRET"


async def test_result_waits_and_tells_how_a_task_ended():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        handle = await client.submit("q", b"x")
        views = [
            view_of(handle.id.bytes),
            view_of(handle.id.bytes, state=int(r.TaskState.COMPLETED), result=b"42"),
        ]
        node.script = lambda command: views.pop(0) if views else None
        assert await handle == b"42"
        attempts = [r.Attempt(1, "w", 1, 2, "failed", "Traceback: boom")]
        views[:] = [
            view_of(handle.id.bytes, state=int(r.TaskState.DEAD), reason="x", attempts=attempts),
            view_of(handle.id.bytes, state=int(r.TaskState.CANCELLED)),
        ]
        with pytest.raises(TaskFailed, match="Traceback: boom"):
            await handle.result()
        with pytest.raises(TaskCancelled):
            await handle.result()
        with pytest.raises(NotFound):
            await client.result("00000000-0000-7000-8000-000000000000")


async def test_purge_goes_on_while_there_is_more():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.submit_many([{"queue": "q"}] * 2_500)
        assert node.count(c.SubmitTasks) == 3
        assert await client.purge_queue("q") == 2_500


async def test_listings_come_page_by_page():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.submit_many([{"queue": "q"}] * 1_200)
        listed = [status.id.bytes async for status in client.tasks(queue="q")]
        assert listed == sorted(node.tasks)
        assert len([status async for status in client.tasks(limit=700)]) == 700
        assert node.count(c.ListTasks) == 3 + 2
