"""Deadlines, cancelling, flow control: what a caller may rely on while a node is slow."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings

import pytest
import uvloop

from taskq import AsyncClient, ConnectionFailed, OutcomeUnknown, TaskqError, TaskState
from taskq import commands as c
from tests.integration.client.scripted_node import Delayed, Drop, ScriptedNode, Silent

# Beyond the deadline: what the machine that runs the tests may need.
SLACK_SECONDS = 0.1


async def timed(awaitable):
    started = time.perf_counter()
    with pytest.raises((TaskqError, TimeoutError)) as caught:
        await awaitable
    return time.perf_counter() - started, caught.value


@pytest.mark.parametrize("action", [Silent(), Drop(carried_out=False), Delayed(5.0)])
async def test_a_deadline_is_kept(action):
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.ping()
        node.script = lambda command: action
        seconds, error = await timed(client.submit("q", timeout=0.3))
        assert 0.3 <= seconds < 0.3 + SLACK_SECONDS
        assert isinstance(error, OutcomeUnknown)


async def test_a_deadline_is_kept_while_connecting(unused_tcp_port):
    async with AsyncClient(f"taskq://127.0.0.1:{unused_tcp_port}") as client:
        seconds, error = await timed(client.submit("q", timeout=0.3))
        assert 0.3 <= seconds < 0.3 + SLACK_SECONDS
        assert isinstance(error, ConnectionFailed)


async def test_the_shorter_of_two_deadlines_ends_first():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = lambda command: Silent()
        long = asyncio.create_task(timed(client.submit("q", timeout=0.5)))
        await asyncio.sleep(0)
        seconds, _ = await timed(client.submit("q", timeout=0.1))
        assert seconds < 0.1 + SLACK_SECONDS
        assert 0.5 <= (await long)[0] < 0.5 + SLACK_SECONDS


async def test_result_gives_up_in_time():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        handle = await client.submit("q")
        node.script = lambda command: Delayed(command.wait_ms / 1000)
        seconds, error = await timed(handle.result(timeout=0.3))
        assert isinstance(error, TimeoutError)
        assert "has not ended within 0.3 s" in str(error)
        assert 0.29 <= seconds < 0.3 + SLACK_SECONDS


async def test_a_timeout_of_nothing_asks_once():
    async with ScriptedNode() as node:
        task_id = b"1" * 16
        node.tasks[task_id] = c.SubmitTask(task_id, "q")
        async with AsyncClient(node.url) as client:  # not even connected yet
            assert isinstance((await timed(client.result(task_id, timeout=0)))[1], TimeoutError)
            node.ended[task_id], node.results[task_id] = TaskState.COMPLETED, b"done"
            assert await client.result(task_id, timeout=0) == b"done"
        assert [command.wait_ms for command in node.received] == [0, 0]


async def test_calls_without_a_node_leave_nothing_behind(unused_tcp_port):
    async with AsyncClient(f"taskq://127.0.0.1:{unused_tcp_port}") as client:
        pending = asyncio.create_task(timed(client.submit("q", timeout=2)))
        for _ in range(30):
            await asyncio.gather(*(timed(client.submit("q", timeout=0.01)) for _ in range(10)))
        await pending
        await asyncio.sleep(0)
        assert len(list(client.channel._link._outbox)) <= 10


async def test_the_node_is_told_how_long_we_wait():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        deadlines = []

        def script(command):
            if isinstance(command, c.QueryStatus):
                deadlines.append(command.wait_ms)
            return Silent()

        node.script = script
        await timed(client.task(b"1" * 16).result(timeout=0.2))
        assert deadlines
        assert 150 <= deadlines[0] <= 200


async def test_a_cancelled_caller_leaves_the_connection_usable():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        node.script = lambda command: Delayed(0.05)
        tasks = [asyncio.create_task(client.submit("q")) for _ in range(20)]
        await asyncio.sleep(0.02)
        for task in tasks[::2]:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(end, asyncio.CancelledError) for end in ended] == [True, False] * 10
        await client.submit("q")
        assert node.connection_count == 1


async def test_a_call_cancelled_before_it_was_sent_is_never_sent():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        task = asyncio.create_task(client.submit("q"))
        await asyncio.sleep(0)
        task.cancel()
        await client.ping()
        assert node.count(c.SubmitTask) == 0


async def test_no_more_requests_in_flight_than_the_node_takes():
    async with ScriptedNode(requests_in_flight_max=8) as node, AsyncClient(node.url) as client:
        open_count = most = 0

        def script(command):
            nonlocal open_count, most
            open_count += 1
            most = max(most, open_count)
            future = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda _: close())
            asyncio.get_running_loop().call_later(0.002, future.set_result, None)
            return future

        def close():
            nonlocal open_count
            open_count -= 1

        node.script = script
        await asyncio.gather(*(client.submit("q") for _ in range(100)))
        assert len(node.tasks) == 100
        assert most == 7  # and one place for a ping


async def test_parked_questions_leave_room_for_others():
    async with ScriptedNode(requests_in_flight_max=10) as node, AsyncClient(node.url) as client:
        handle = await client.submit("q")
        node.script = lambda command: Silent() if isinstance(command, c.QueryStatus) else None
        waiting = [asyncio.create_task(handle.result()) for _ in range(50)]
        await asyncio.sleep(0.05)
        await asyncio.gather(*(client.submit("q", timeout=1) for _ in range(50)))
        assert node.count(c.QueryStatus) == 4
        for task in waiting:
            task.cancel()


async def test_a_slow_reader_is_not_flooded():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=20) as client:
        await client.ping()
        (peer,) = node.peers
        peer.transport.pause_reading()
        payload = bytes(200_000)
        tasks = [asyncio.create_task(client.submit("q", payload)) for _ in range(100)]
        await asyncio.sleep(0.2)
        connection = client.channel._link._connection
        buffered = connection._transport.get_write_buffer_size()
        assert buffered < 1_000_000  # of 20 MB
        assert len(client.channel._link._outbox.calls) > 50
        peer.transport.resume_reading()
        await asyncio.gather(*tasks)
        assert len(node.tasks) == 100


async def test_answers_in_any_order_find_their_calls():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        held = []

        def script(command):
            held.append(asyncio.get_running_loop().create_future())
            if len(held) == 50:
                for future in reversed(held):
                    future.set_result(None)
            return held[-1]

        node.script = script
        handles = await asyncio.gather(*(client.submit("q", b"%d" % n) for n in range(50)))
        for number, handle in enumerate(handles):
            assert node.tasks[handle.id.bytes].payload == b"%d" % number


async def test_pings_keep_an_idle_connection():
    async with ScriptedNode(idle_timeout_ms=1_000) as node, AsyncClient(node.url) as client:
        await client.submit("q")
        await asyncio.sleep(1.2)
        assert node.count(c.Ping) >= 3
        assert node.connection_count == 1


async def test_a_silent_connection_is_given_up_for_another():
    async with ScriptedNode(idle_timeout_ms=1_000) as node, AsyncClient(node.url) as client:
        node.script = lambda command: Silent() if node.connection_count == 1 else None
        started = time.perf_counter()
        await client.submit("q", timeout=5)
        assert time.perf_counter() - started < 1.0
        assert node.connection_count == 2


async def test_close_ends_open_calls_and_can_be_repeated():
    async with ScriptedNode() as node:
        client = AsyncClient(node.url)
        node.script = lambda command: Silent()
        task = asyncio.create_task(client.submit("q"))
        await asyncio.sleep(0.05)
        await client.close()
        await client.close()
        with pytest.raises(OutcomeUnknown):
            await task
        with pytest.raises(ConnectionFailed, match="closed"):
            await client.submit("q")
        await asyncio.sleep(0.02)
        assert not node.peers


async def test_an_unclosed_client_only_warns():
    async with ScriptedNode() as node:
        client = AsyncClient(node.url)
        await client.ping()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
        assert {w.category for w in caught} == {ResourceWarning}
        await asyncio.sleep(0.02)
        assert not node.peers


def test_a_client_lives_through_several_loops():
    client = None
    port = 0

    async def once():
        nonlocal client
        async with ScriptedNode(port=port) as node:
            client = client or AsyncClient(node.url)
            await client.submit("q")
            return node.port

    port = asyncio.run(once())
    asyncio.run(once())


def test_the_loop_of_the_caller_may_be_uvloop():
    async def rounds():
        async with ScriptedNode() as node, AsyncClient(node.url, timeout=5) as client:
            drops = [Drop(carried_out=True)]
            node.script = lambda command: drops.pop() if drops else None
            await asyncio.gather(*(client.submit("q", bytes(50_000)) for _ in range(100)))
            assert len(node.tasks) == 100
            assert node.connection_count == 2
            node.script = lambda command: Silent()
            seconds, error = await timed(client.submit("q", timeout=0.2))
            assert seconds < 0.2 + SLACK_SECONDS
            assert isinstance(error, OutcomeUnknown)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(rounds())
