"""A worker's side: numbers of claims, outcomes, pushes."""

from __future__ import annotations

import asyncio
import gc

import pytest

from taskq import AsyncClient, ConnectionFailed, OutcomeUnknown, StaleToken, TaskState
from taskq import commands as c
from taskq.client.worker_session import completed, failed
from taskq.errors import ErrorCode, refuse
from tests.integration.client.scripted_node import Delayed, Drop, ScriptedNode, Silent, settled

STALE = refuse(ErrorCode.STALE_TOKEN, "someone else owns the task")


def claims(node: ScriptedNode) -> list[c.ClaimTask]:
    return [command for command in node.received if isinstance(command, c.ClaimTask)]


async def test_the_life_of_a_worker():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.submit_many([{"queue": "q", "payload": b"%d" % n} for n in range(6)])
        worker = client.worker(name="w", concurrency=3, heartbeat_interval=2)
        assert (await worker.register()).dead_after_ms == 30_000
        tasks = await worker.claim(["q"], 6, lease=30)
        assert [task.payload for task in tasks] == [b"%d" % n for n in range(6)]
        assert await worker.complete(tasks[0]) is TaskState.COMPLETED
        assert await worker.complete(tasks[1], b"r") is TaskState.COMPLETED
        await worker.fail(tasks[2], "x" * 100_000, retry=False)
        await worker.release(tasks[3], delay=1.5)
        outcomes = [completed(tasks[4], b"r"), failed(tasks[5], "boom")]
        assert await worker.complete_many(outcomes) == [TaskState.COMPLETED] * 2
        await worker.heartbeat([tasks[0].token], 500, 1_000)
        await worker.deregister()
        kinds = [type(command).__name__ for command in node.received]
        assert kinds == [
            *("SubmitTasks", "RegisterWorker", "ClaimTask", "Ack", "TaskResult", "TaskResult"),
            *("Nack", "TaskResults", "Heartbeat", "DeregisterWorker"),
        ]
        assert node.received[1] == c.RegisterWorker(worker.worker_id, "w", 3, 2_000)
        assert len(node.received[5].error) == 65_536
        assert node.received[6].delay_ms == 1_500
        assert node.received[8].lowest_unanswered == 2


async def test_a_claim_whose_answer_was_lost_gets_its_tasks_under_the_same_number():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.submit_many([{"queue": "q"}] * 4)
        drops = [True, False]
        node.script = lambda command: (
            Drop(carried_out=drops.pop(0)) if isinstance(command, c.ClaimTask) and drops else None
        )
        worker = client.worker()
        first = await worker.claim(["q"], 2, wait=10)
        second = await worker.claim(["q"], 2)
        assert len({task.task_id for task in first + second}) == 4
        assert [claim.claim_number for claim in claims(node)] == [1, 1, 1, 2]


async def test_a_repeated_claim_parks_for_the_rest_of_its_time_only():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = lambda command: Silent() if len(claims(node)) == 1 else None
        claim = asyncio.create_task(client.worker().claim(["q"], wait=10))
        await settled(lambda: claims(node))
        await asyncio.sleep(0.2)
        node.drop_all()
        assert await claim == []
        first, second = claims(node)
        assert first.wait_ms == 10_000
        assert 9_000 < second.wait_ms <= 9_800
        assert second.claim_number == first.claim_number


async def test_claims_name_the_lowest_unanswered():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        worker = client.worker()
        hold = asyncio.get_running_loop().create_future()
        node.script = lambda command: hold if command.claim_number == 1 else None
        parked = asyncio.create_task(worker.claim(["q"], wait=20))
        await asyncio.sleep(0)
        await worker.claim(["q"])
        await worker.claim(["q"])
        assert worker.lowest_unanswered == 1
        hold.set_result(None)
        await parked
        assert worker.lowest_unanswered == 4
        await worker.claim(["q"])
        numbers = sorted((k.claim_number, k.lowest_unanswered) for k in claims(node))
        assert numbers == [(1, 1), (2, 1), (3, 1), (4, 4)]


async def test_two_workers_differ():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        assert client.worker().worker_id != client.worker().worker_id


@pytest.mark.parametrize("ends", ["cancelled", "out of time"])
async def test_tasks_that_come_after_the_caller_has_gone_are_released(ends):
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.submit("q")
        node.script = lambda command: Delayed(0.15) if isinstance(command, c.ClaimTask) else None
        worker = client.worker()
        timeout = 0.05 if ends == "out of time" else 5
        claim = asyncio.create_task(worker.claim(["q"], timeout=timeout))
        await asyncio.sleep(0.05)
        if ends == "cancelled":
            claim.cancel()
        with pytest.raises((asyncio.CancelledError, OutcomeUnknown)):
            await claim
        await settled(lambda: node.count(c.Nack))
        assert node.received[-1] == c.Nack(next(iter(node.tasks)), 1, 0)


async def test_a_stale_token_is_told_also_in_a_batch():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.submit_many([{"queue": "q"}] * 2)
        worker = client.worker()
        one, two = await worker.claim(["q"], 2)
        node.member_script = lambda outcome: STALE if outcome.token == one.token else None
        stale, done = await worker.complete_many([completed(one), completed(two)])
        assert isinstance(stale, StaleToken)
        assert done is TaskState.COMPLETED
        node.script = lambda command: STALE
        with pytest.raises(StaleToken):
            await worker.complete(one)


async def test_a_cancel_is_pushed_to_every_worker_of_the_client():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        heard: list[tuple[str, c.CancelRequested]] = []
        one = client.worker(on_cancel=lambda push: heard.append(("one", push)))
        two = client.worker()
        two.on_cancel = lambda push: heard.append(("two", push))
        failing = client.worker(on_cancel=lambda push: heard[99])
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        await client.ping()
        push = c.CancelRequested(b"i" * 16, 7)
        node.push(push)
        await client.ping()
        await asyncio.sleep(0.01)
        assert sorted(heard) == [("one", push), ("two", push)]
        # A listener that raises is reported and costs no connection.
        assert len(errors) == 1
        assert node.connection_count == 1
        del one, two, failing


async def test_a_forgotten_session_does_not_keep_the_client_alive():
    async with ScriptedNode() as node:
        client = AsyncClient(node.url)
        await client.worker().claim(["q"])
        with pytest.warns(ResourceWarning):  # noqa: PT031
            del client
            gc.collect()


async def test_a_heartbeat_gives_up_soon_so_that_the_next_can_come():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.ping()
        node.script = lambda command: Silent()
        started = asyncio.get_running_loop().time()
        with pytest.raises((OutcomeUnknown, ConnectionFailed)):
            await client.worker().heartbeat([1])
        assert 1.9 < asyncio.get_running_loop().time() - started < 2.3
