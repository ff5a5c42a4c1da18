"""The broker in memory through the real asynchronous client, with time that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest

import taskq
from taskq.testing import Broker

START = datetime(2027, 1, 31, 8, 0, tzinfo=UTC)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(start=START) as made:
        yield made
        made.check()


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[taskq.AsyncClient]:
    async with broker.async_client() as made:
        yield made


async def settled() -> None:
    """Rounds of the loop, more than any request or answer needs: no clock is waited for."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_submit_claim_complete(broker: Broker, client: taskq.AsyncClient) -> None:
    handle = await client.submit("mails", b"to: ann", headers={"a": "b"}, priority="high")
    worker = client.worker(name="w")
    (task,) = await worker.claim(["mails"])
    assert (task.payload, task.headers, task.priority) == (b"to: ann", {"a": "b"}, 255)
    assert await worker.complete(task, b"sent") is taskq.TaskState.COMPLETED
    assert await handle == b"sent"
    with pytest.raises(taskq.StaleToken):
        await worker.fail(task._replace(token=task.token - 1), "too late")


async def test_time_stands_still_until_the_test_moves_it(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    handle = await client.submit("q", delay=60)
    worker = client.worker()
    broker.advance(59.999)
    assert await worker.claim(["q"]) == []
    broker.advance(0.001)
    assert len(await worker.claim(["q"])) == 1
    status = await handle.status()
    assert status.submitted_at == START
    assert status.started_at == broker.now == START + timedelta(seconds=60)
    assert broker.elapsed == 60


async def test_a_date_is_met_at_the_date(broker: Broker, client: taskq.AsyncClient) -> None:
    at = START + timedelta(days=1)
    await client.submit("q", run_at=at)
    broker.advance(timedelta(days=1, milliseconds=-1))
    worker = client.worker()
    assert await worker.claim(["q"]) == []
    broker.advance(timedelta(milliseconds=1))
    assert len(await worker.claim(["q"])) == 1


async def test_a_claim_that_waits_gets_its_task(broker: Broker, client: taskq.AsyncClient) -> None:
    first, second = client.worker(), client.worker()
    claims = [asyncio.ensure_future(one.claim(["q"], wait=100)) for one in (first, second)]
    await settled()
    await client.submit("q", b"now")
    (task,) = await claims[0]
    assert task.payload == b"now"
    await first.complete(task)
    await client.submit("q", b"later", delay=29)
    broker.advance(29)
    assert [task.payload for task in await claims[1]] == [b"later"]


async def test_a_claim_that_is_cancelled_in_any_round_keeps_nothing(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    worker = client.worker()
    await worker.register()
    handle = await client.submit("q")
    came = 0
    for rounds in range(12):
        claim = asyncio.ensure_future(worker.claim(["q"]))
        for _ in range(rounds):
            await asyncio.sleep(0)
        claim.cancel()
        for answer in await asyncio.gather(claim, return_exceptions=True):
            if not isinstance(answer, asyncio.CancelledError):
                came += 1
                await worker.release(answer[0])
        await settled()
        assert (await handle.status()).state is taskq.TaskState.READY, rounds
    assert came, "the last rounds are later than the answer"


async def test_a_worker_that_deregisters_takes_nothing_more(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    worker = client.worker()
    claim = asyncio.ensure_future(worker.claim(["q"], 500, wait=100))
    await settled()
    assert await worker.deregister() == 0
    assert await claim == []
    handle = await client.submit("q")
    assert (await handle.status()).state is taskq.TaskState.READY


async def test_a_wait_ends_with_the_brokers_time(broker: Broker, client: taskq.AsyncClient) -> None:
    handle = await client.submit("q", delay=1_000)
    claim = asyncio.ensure_future(client.worker().claim(["q"], wait=200))
    question = asyncio.ensure_future(
        client.call(taskq.commands.QueryStatus(handle.id.bytes, 20_000))
    )
    await settled()
    broker.advance(19.9)
    await settled()
    assert not claim.done()
    assert not question.done()
    broker.advance(0.1)
    assert (await question).state == taskq.TaskState.SCHEDULED
    broker.advance(180)
    assert await claim == []


async def test_who_waits_for_a_result_hears_of_the_end(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    handle = await client.submit("q", ttl=5)
    result = asyncio.ensure_future(handle.result(timeout=30))
    await settled()
    broker.advance(5)
    with pytest.raises(taskq.TaskExpired):
        await result


async def test_retries_come_after_their_delay_and_end_in_death(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    handle = await client.submit("q", max_retries=2, backoff=10)
    worker = client.worker()
    for delay in (10, 20, None):
        (task,) = await worker.claim(["q"])
        await worker.fail(task, f"attempt {task.attempt}")
        if delay is not None:
            broker.advance(delay * 0.79)
            assert await worker.claim(["q"]) == []
            broker.advance(delay * 0.42)
    with pytest.raises(taskq.TaskFailed, match="attempt 3"):
        await handle.result()
    assert [task.id async for task in client.dead()] == [handle.id]
    assert await client.redrive([handle.id]) == [None]
    assert (await handle.status()).state is taskq.TaskState.READY


async def test_a_lease_ends_and_its_token_with_it(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    await client.submit("q")
    slow, quick = client.worker(heartbeat_interval=3_600), client.worker()
    (lost,) = await slow.claim(["q"], lease=30)
    claim = asyncio.ensure_future(quick.claim(["q"], wait=100))
    await settled()
    broker.advance(30)
    (task,) = await claim
    assert (task.task_id, task.attempt) == (lost.task_id, 2)
    with pytest.raises(taskq.StaleToken):
        await slow.complete(lost)
    assert (await slow.heartbeat([lost.token])).invalid == [lost.token]


async def test_heartbeats_keep_a_lease(broker: Broker, client: taskq.AsyncClient) -> None:
    await client.submit("q")
    worker = client.worker(heartbeat_interval=15)
    await worker.register()
    (task,) = await worker.claim(["q"])
    for _ in range(10):
        broker.advance(15)
        assert (await worker.heartbeat([task.token])).invalid == []
    await worker.complete(task)


async def test_a_worker_that_is_silent_is_dead(broker: Broker, client: taskq.AsyncClient) -> None:
    worker = client.worker(heartbeat_interval=15)
    await worker.register()
    broker.advance(29)
    assert [known.seen for known in await client.workers()] == [29]
    broker.advance(1)
    assert await client.workers() == []


async def test_a_wanted_cancellation_reaches_the_worker(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    wanted: list[bytes] = []
    handle = await client.submit("q")
    worker = client.worker(on_cancel=lambda push: wanted.append(push.task_id))
    (task,) = await worker.claim(["q"])
    assert (await handle.cancel()).requested
    await settled()
    assert wanted == [handle.id.bytes]
    await worker.release(task)
    with pytest.raises(taskq.TaskCancelled):
        await handle.result()


async def test_results_expire_after_their_days(broker: Broker, client: taskq.AsyncClient) -> None:
    handle = await client.submit("q")
    worker = client.worker()
    (task,) = await worker.claim(["q"])
    await worker.complete(task)
    broker.advance(timedelta(days=7, seconds=-1))
    await handle.status()
    broker.advance(2)
    with pytest.raises(taskq.NotFound):
        await handle.status()


async def test_more_than_one_entry_acts_on_may_fall_due_at_once(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    specs = [taskq.TaskSpec(queue="q", delay=5) for _ in range(2_500)]
    handles = await client.submit_many(specs)
    assert not any(isinstance(handle, taskq.TaskqError) for handle in handles)
    broker.advance(5)
    (queue,) = await client.queues()
    assert (queue.ready, queue.scheduled) == (2_500, 0)


async def test_settings_are_those_of_a_node(client: taskq.AsyncClient) -> None:
    with Broker(settings={"queue_depth_threshold": 1, "max_lease_expiries": 0}) as small:
        async with small.async_client() as its:
            handle = await its.submit("q")
            with pytest.raises(taskq.QueueFull):
                await its.submit("q")
            await its.worker(heartbeat_interval=3_600).claim(["q"])
            small.advance(31)
            with pytest.raises(taskq.TaskFailed):
                await handle.result()
    with pytest.raises(ValueError, match=r"'depth' is none of .*queue_depth_threshold"):
        Broker(settings={"depth": 1})


async def test_broken_connections_lose_nothing(broker: Broker, client: taskq.AsyncClient) -> None:
    worker = client.worker()
    claim = asyncio.ensure_future(worker.claim(["q"], wait=100))
    await settled()
    broker.disconnect()
    handle = await client.submit("q", b"after")
    (task,) = await claim
    assert task.task_id == handle.id.bytes


async def test_what_waits_goes_with_its_connection(broker: Broker) -> None:
    async with broker.async_client() as gone:
        claim = asyncio.ensure_future(gone.worker().claim(["q"], wait=100))
        await settled()
    with pytest.raises(taskq.TaskqError):
        await claim
    async with broker.async_client() as client:
        handle = await client.submit("q")
        assert (await handle.status()).state is taskq.TaskState.READY


async def test_brokers_know_nothing_of_each_other(
    broker: Broker, client: taskq.AsyncClient
) -> None:
    handle = await client.submit("q")
    with Broker() as other:
        async with other.async_client() as its:
            with pytest.raises(taskq.NotFound):
                await its.status(handle.id)


async def test_a_broker_that_is_closed_can_not_be_reached(broker: Broker) -> None:
    with Broker() as closed:
        pass
    async with closed.async_client(timeout=0.1) as client:
        with pytest.raises(taskq.ConnectionFailed):
            await client.stats()


async def test_time_moves_forward_only(broker: Broker) -> None:
    with pytest.raises(ValueError, match="duration"):
        broker.advance(-1)
    with pytest.raises(ValueError, match="time zone"):
        Broker(start=datetime(2027, 1, 1))  # noqa: DTZ001  # what is to be refused
