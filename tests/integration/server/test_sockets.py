"""The server over real sockets: pipelining, limits, slow and broken peers, many connections."""

from __future__ import annotations

import asyncio
import socket
import time

import psutil
import pytest

from taskq import commands
from taskq.limits import MIB
from taskq.protocol.connection import ClientConnection
from taskq.results import HelloReply, Submitted
from tests.integration.server.sockets import listening, until
from tests.unit.server.rig import claim, submit, task_id


async def test_pipelined_requests_are_answered_out_of_order() -> None:
    async with listening() as port:
        client = await port.connect()
        waits, *submits = client.send(claim(1, "other"), *[submit(n) for n in range(1, 2001)])
        for number, request_id in enumerate(submits, 1):
            assert await client.answer(request_id) == Submitted(task_id(number))
        assert waits not in client.answers
        await client.ask(submit(5000, "other"))
        assert [task.task_id for task in (await client.answer(waits)).tasks] == [task_id(5000)]
        assert len(port.replica.entries) < 100, "commands were not committed in groups"


async def test_a_parked_claim_is_answered_within_20_ms_of_readiness() -> None:
    async with listening() as port:
        worker, producer = await port.connect(), await port.connect()
        delays = []
        for number in range(1, 21):
            (request_id,) = worker.send(claim(number))
            await asyncio.sleep(0.005)
            start = time.perf_counter()
            producer.send(submit(number))
            await worker.answer(request_id)
            delays.append(time.perf_counter() - start)
        assert sorted(delays)[10] < 0.020, delays


async def test_over_the_limit_each_connection_is_answered_and_closed() -> None:
    async with listening(connection_count_max=5, newcomer_count_max=50) as port:
        good = [await port.connect() for _ in range(5)]
        refused = [await port.connect() for _ in range(40)]
        for client in refused:
            assert client.answers[1].code == "TOO_MANY_CONNECTIONS"
            await asyncio.wait_for(client.ended(), 5)
        assert isinstance(good[0].answers[1], HelloReply)
        good[0].close()
        await asyncio.sleep(0.05)
        assert isinstance((await port.connect()).answers[1], HelloReply)


async def test_two_thousand_connections_are_served() -> None:
    async with listening(connection_count_max=2_000) as port:
        clients = []
        for _ in range(20):
            clients += await asyncio.gather(*[port.connect() for _ in range(100)])
        assert len(port.server.sessions) == 2_000
        replies = await asyncio.gather(
            *[client.ask(submit(n)) for n, client in enumerate(clients, 1)]
        )
        assert replies == [Submitted(task_id(n)) for n in range(1, 2_001)]
        assert (await port.connect()).answers[1].code == "TOO_MANY_CONNECTIONS"


async def test_five_thousand_parked_claims_cost_nothing_and_end_with_their_connection() -> None:
    async with listening() as port:
        clients = [await port.connect() for _ in range(10)]
        for position, client in enumerate(clients):
            client.send(
                *[
                    claim(1, worker=task_id(position * 1_000 + n), wait_ms=300_000)
                    for n in range(500)
                ]
            )
        claims = port.server.waiting.claims
        await until(lambda: claims.count == 5_000)
        spent = time.process_time()
        await asyncio.sleep(2)
        spent = time.process_time() - spent
        assert spent < 0.05, f"{spent:.3f} s of CPU in 2 s"
        assert port.replica.entries == []
        for client in clients[1:]:
            client.close()
        await until(lambda: claims.count == 500)
        await clients[0].ask(submit(1))
        while len(clients[0].order) < 3:  # Hello, the submit, one claim
            await clients[0].read()
        assert claims.count == 499


async def test_who_sends_and_never_reads_is_held_to_bounded_memory() -> None:
    """200 MiB of requests; their answers would be larger still."""
    async with listening(connection_size_max=8 * MIB, idle_secs=2) as port:
        good = await port.connect()
        await good.ask(submit(1, payload=b"x" * 100_000))
        token = (await good.ask(claim())).tasks[0].token
        await good.ask(commands.TaskResult(task_id(1), token, True, b"r" * 500_000))
        sender = ClientConnection()
        stream = socket.create_connection(("127.0.0.1", port.port))
        stream.sendall(sender.greet("test", None))
        await asyncio.sleep(0.1)
        sender.receive(stream.recv(65_536))
        query = commands.QueryStatus(task_id(1))
        chunk = b"".join(sender.request(query)[1] for _ in range(20_000))
        stream.setblocking(False)
        rss, sent, most = psutil.Process().memory_info().rss, 0, 0
        ended = False
        while sent < 200 * MIB and not ended:
            try:
                sent += stream.send(chunk)  # cut anywhere: the rest does not matter any more
            except BlockingIOError:
                await asyncio.sleep(0.02)
            except ConnectionError:
                ended = True
            assert (await good.ask(commands.Ping())).leader == "node1"
            most = max(most, port.server.sessions.size)
            assert psutil.Process().memory_info().rss - rss < 60 * MIB
        stream.close()
        assert ended
        assert 1 * MIB <= most < 16 * MIB
        assert sent < 20 * MIB, "the server went on reading"
        assert port.server.counters.dropped == {"does not read": 1}
        assert port.server.sessions.size < 1 * MIB


async def test_idle_connections_end_and_pings_keep_theirs() -> None:
    async with listening(idle_secs=1.5) as port:
        silent, alive = await port.connect(), await port.connect()
        end = asyncio.create_task(silent.ended())
        for _ in range(8):
            await asyncio.sleep(0.5)
            await alive.ask(commands.Ping())
        assert end.done()
        assert port.server.counters.dropped == {"idle": 1}


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\0\0\0", b"\xff" * 65_536, b"\x16\x03\x01"],
)
async def test_garbage_ends_its_own_connection_only(garbage: bytes) -> None:
    async with listening(hello_secs=1) as port:
        good, bad = await port.connect(), await port.connect(greet=False)
        bad.writer.write(garbage)
        await asyncio.wait_for(bad.ended(), 5)
        assert (await good.ask(commands.Ping())).leader == "node1"


async def test_a_peer_that_sends_no_more_is_closed() -> None:
    async with listening() as port:
        client = await port.connect()
        client.writer.write_eof()
        await asyncio.wait_for(client.ended(), 5)
        assert len(port.server.sessions) == 0


async def test_a_cancellation_reaches_the_worker_by_itself() -> None:
    async with listening() as port:
        worker, producer = await port.connect(), await port.connect()
        await producer.ask(submit(1))
        (task,) = (await worker.ask(claim())).tasks
        await producer.ask(commands.CancelTask(task_id(1)))
        while not worker.pushes:
            await worker.read()
        assert worker.pushes == [commands.CancelRequested(task_id(1), task.token)]


async def test_loss_of_leadership_leaves_nobody_hanging() -> None:
    async with listening() as port:
        clients = [await port.connect() for _ in range(20)]
        waits = [client.send(claim(1, worker=task_id(n)))[0] for n, client in enumerate(clients)]
        await until(lambda: port.server.waiting.claims.count == 20)
        port.replica.lose_leadership()
        producer = await port.connect()
        ids = producer.send(*[submit(n) for n in range(1, 21)], deadline_ms=5_000)
        await until(lambda: port.server.forwarding.held_count == 40)
        port.replica.lead()
        for number, request_id in enumerate(ids, 1):
            answer = await asyncio.wait_for(producer.answer(request_id), 1)
            assert answer == Submitted(task_id(number))
        for client, request_id in zip(clients, waits, strict=True):
            assert (await asyncio.wait_for(client.answer(request_id), 1)).tasks


async def test_stopping_closes_who_has_all_answers_without_waiting_for_the_others() -> None:
    async with listening() as port:
        idle, busy = await port.connect(), await port.connect()
        port.replica.held = True
        (in_flight,) = busy.send(submit(1))
        await until(lambda: any(session.in_flight for session in port.server.sessions.all()))
        stop = asyncio.create_task(port.server.stop(5))
        await asyncio.wait_for(idle.ended(), 1)
        assert not stop.done()
        port.replica.release()
        assert await busy.answer(in_flight) == Submitted(task_id(1))
        await stop


async def test_stopping_answers_what_waits_and_what_is_in_flight() -> None:
    async with listening() as port:
        client = await port.connect()
        port.replica.held = True
        waits, in_flight = client.send(claim(1, "none"), submit(1))
        await asyncio.sleep(0.05)
        stop = asyncio.create_task(port.server.stop(5))
        assert (await client.answer(waits)).code == "UNAVAILABLE"
        assert not stop.done()
        port.replica.release()
        assert await client.answer(in_flight) == Submitted(task_id(1))
        await client.ended()
        await stop
        with pytest.raises(ConnectionRefusedError):
            await port.connect()


async def test_a_burst_of_large_frames_in_pieces() -> None:
    async with listening() as port:
        client = await port.connect()
        payload = bytes(range(256)) * 4_000
        ids = client.send(*[submit(n, payload=payload) for n in range(1, 41)])
        for number, request_id in enumerate(ids, 1):
            assert await client.answer(request_id) == Submitted(task_id(number))
        tasks = (await client.ask(claim(max_tasks=10))).tasks
        assert [task.payload for task in tasks] == [payload] * 10
