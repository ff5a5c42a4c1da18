"""Nobody keeps the loop: what many wait for, or one asks for a thousandfold, is done in turns."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from cluster.replication.packing import pack
from cluster.server import parked_queries, wait_clock
from cluster.server.health import Health
from cluster.server.http_port import CONNECTION_COUNT_MAX, HttpPort
from cluster.server.metrics import Metrics, probes
from cluster.server.quota import ROUND_SIZE_MAX
from taskq import commands
from taskq.errors import ProtocolError
from taskq.limits import HEADER_SIZE_MAX, HEARTBEAT_TOKEN_COUNT_MAX, KIB, MIB
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Machine
from taskq.machine.view import MemoryView
from taskq.protocol.codec import decode_request
from taskq.protocol.unpack import PLAIN_SIZE_MAX, REQUEST_VALUE_COUNT_MAX
from tests.integration.server.sockets import listening
from tests.unit.server.rig import Rig, claim, submit, task_id

WAITING = 1_000


def _rounds_of_answers(rig: Rig, peers: list[Any]) -> list[int]:
    """How many answers went out in each round of the loop until it rests."""
    counters, sizes = rig.server.counters, []
    while rig.loop._ready:
        before = sum(counters.answered)
        for _ in range(len(rig.loop._ready)):
            rig.loop._ready.popleft().run()
        sizes.append(sum(counters.answered) - before)
    for peer in peers:
        peer.read()
    return [size for size in sizes if size]


def test_many_that_wait_for_the_end_of_one_task_are_answered_in_turns() -> None:
    rig = Rig()
    producer, peers = rig.peer(), [rig.peer() for _ in range(4)]
    producer.ask(submit(1, delay_ms=60_000))
    for peer in peers:
        peer.send(*[commands.QueryStatus(task_id(1), 50_000)] * (WAITING // 4))
    assert rig.server.waiting.queries.count == WAITING
    _, frame = producer.connection.request(commands.CancelTask(task_id(1)))
    producer.session.data_received(frame)
    rounds = _rounds_of_answers(rig, peers)
    assert sum(rounds) == WAITING + 1
    assert max(rounds) <= parked_queries.ROUND_COUNT_MAX + 1
    assert all(len(peer.answers) == 1 + WAITING // 4 for peer in peers)


def test_waits_that_end_together_are_answered_in_turns() -> None:
    rig = Rig()
    producer, peers = rig.peer(), [rig.peer() for _ in range(4)]
    producer.ask(submit(1, delay_ms=600_000))
    for peer in peers:
        peer.send(*[commands.QueryStatus(task_id(1), 5_000)] * (WAITING // 4))
    rings = 0
    clock = rig.server.waiting.queries._clock
    ring = clock._ring

    def counted() -> None:
        nonlocal rings
        before = rig.server.waiting.queries.count
        ring()
        rings += 1
        assert before - rig.server.waiting.queries.count <= wait_clock.RING_COUNT_MAX

    rig.loop.call_at(rig.loop.now + 5.001, counted)
    clock.stop()
    clock._ring = counted  # type: ignore[method-assign]
    rig.loop.advance(6)
    assert rings >= WAITING // wait_clock.RING_COUNT_MAX
    assert all(peer.answer(1 + WAITING // 4) for peer in peers)


def test_a_dropped_connection_is_not_answered_in_its_turn() -> None:
    rig = Rig()
    producer, gone = rig.peer(), rig.peer()
    producer.ask(submit(1, delay_ms=60_000))
    gone.send(*[commands.QueryStatus(task_id(1), 50_000)] * 900)
    _, frame = producer.connection.request(commands.CancelTask(task_id(1)))
    producer.session.data_received(frame)
    gone.session.connection_lost(None)
    rig.loop.settle()
    assert rig.server.waiting.queries.count == 0
    assert gone.session.in_flight == 0
    assert rig.server.sessions.size == 0


def test_one_packet_of_large_reads_is_answered_in_turns() -> None:
    rig = Rig()
    peer, other = rig.peer(), rig.peer()
    peer.ask(submit(1))
    (task,) = peer.ask(claim(1)).tasks
    peer.ask(commands.TaskResult(task.task_id, task.token, True, bytes(MIB)))
    counters = rig.server.counters
    pairs = [peer.connection.request(commands.QueryStatus(task_id(1))) for _ in range(40)]
    peer.session.data_received(b"".join(frame for _, frame in pairs))
    assert peer.session.unread <= ROUND_SIZE_MAX + 2 * MIB
    sent = counters.bytes_out
    while rig.loop._ready:
        rig.loop._ready.popleft().run()
        assert counters.bytes_out - sent <= ROUND_SIZE_MAX + 2 * MIB
        sent = counters.bytes_out
    peer.read()
    assert all(request_id in peer.answers for request_id, _ in pairs)
    assert other.ask(commands.Ping())


def test_who_holds_little_goes_on_while_others_hold_too_much() -> None:
    rig = Rig(node_size_max=1 * MIB, connection_count_max=10)
    heavy, light = [rig.peer() for _ in range(4)], rig.peer()
    _, frame = heavy[0].connection.request(submit(1, payload=b"x" * 900_000))
    for peer in heavy:
        peer.receive(frame[:300_000])
    assert [peer.pipe.paused for peer in heavy] == [False, False, False, True]
    for number in range(2, 50):
        assert light.ask(submit(number)) is not None
        assert light.ask(commands.QueryStatus(task_id(number))).task_id == task_id(number)
    assert not light.pipe.paused


def test_reads_wait_for_everybody_at_twice_the_limit_and_are_answered_later() -> None:
    rig = Rig(node_size_max=1 * MIB, connection_count_max=10)
    heavy, light = [rig.peer() for _ in range(2)], rig.peer()
    light.ask(submit(5))
    _, frame = heavy[0].connection.request(submit(1, payload=b"x" * 4_000_000))
    for peer in heavy:
        peer.session.data_received(frame[:1_200_000])
    (asked,) = light.send(commands.QueryStatus(task_id(5)))
    assert light.answer(asked) is None
    rig.loop.advance(4)
    assert light.answer(asked).task_id == task_id(5)
    assert not light.pipe.closing


def test_heartbeats_of_many_tokens_do_not_share_an_entry() -> None:
    beat = commands.Heartbeat(b"w" * 16, list(range(HEARTBEAT_TOKEN_COUNT_MAX)))
    parts = pack(0, 0, [(beat, None, None)] * 20)  # type: ignore[list-item]
    assert [len(batch) for batch, _ in parts] == [1] * 20
    small = commands.Heartbeat(b"w" * 16, [1, 2, 3])
    assert len(pack(0, 0, [(small, None, None)] * 20)) == 1  # type: ignore[list-item]


def test_a_bomb_is_given_up_early() -> None:
    bomb = b"\x94\x01\x05\x00\xdc\x01\xf4" + (b"\xdc\x07\x6c" + b"\x90" * 1_900) * 500
    assert len(bomb) > PLAIN_SIZE_MAX
    with pytest.raises(ProtocolError, match=f"more than {REQUEST_VALUE_COUNT_MAX} values"):
        decode_request(0x11, bomb)


def test_the_largest_legal_batch_is_no_bomb() -> None:
    headers = {f"{number:0512}": "é" * 8 for number in range(32)}
    task = list(commands.SubmitTask(b"i" * 16, "q", headers=headers))
    payload = msgpack.packb([1, 1, 0, [[task] * 800]])
    request = decode_request(0x11, payload)
    assert len(request.command.tasks) == 800  # type: ignore[union-attr]
    assert request.size > len(payload) + 800 * 32 * 100  # type: ignore[union-attr]


class _Watched(MemoryView):
    """Notes how much one scan took out."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.scanned = 0

    def scan(self, prefix: bytes, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        found = super().scan(prefix, after, limit)
        size = sum(len(value) for _, value in found)
        self.largest, self.scanned = max(self.largest, size), self.scanned + size
        return found


def test_a_listing_of_large_records_takes_few_at_a_time() -> None:
    view = _Watched()
    machine = Machine(view)
    headers = {f"{number:02}": "x" * HEADER_SIZE_MAX for number in range(32)}
    for start in range(0, 1_200, 100):
        tasks = [
            list(commands.SubmitTask(task_id(number), "q", headers=headers))
            for number in range(start, start + 100)
        ]
        machine.apply(encode_entry(0, 0, [commands.SubmitTasks(tasks)]))
    view.largest = view.scanned = 0
    page = machine.ask(commands.ListTasks("other"))
    assert not page.tasks
    assert view.scanned <= 500 * 40 * KIB
    pages, seen = 1, 0
    while page.after is not None:
        page = machine.ask(commands.ListTasks("other", None, page.after))
        pages += 1
    assert pages == 3  # of 500, 500 and 200 records
    page = machine.ask(commands.ListTasks("q"))
    while True:
        seen += len(page.tasks)
        if page.after is None:
            break
        page = machine.ask(commands.ListTasks("q", None, page.after))
    assert seen == 1_200


async def test_silent_connections_do_not_keep_probes_out() -> None:
    async with listening() as broker:
        health = Health(broker.replica, 30.0)
        health.started = True
        monitoring = HttpPort(probes(health))
        port = await monitoring.start("127.0.0.1", 0)
        silent = []
        for _ in range(CONNECTION_COUNT_MAX + 8):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /livez HTTP/1.1\r\n")
            await writer.drain()
            silent.append((reader, writer))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200")
        assert len(monitoring.connections) <= CONNECTION_COUNT_MAX
        await monitoring.stop()
        for _, writer in silent:
            writer.close()


async def test_many_scrapes_take_turns() -> None:
    async with listening() as broker:
        metrics = Metrics(broker.replica, broker.server, lambda: 1)
        active, most = 0, 0

        def depths() -> Any:
            nonlocal active, most
            active += 1
            most = max(most, active)
            for _ in range(5):
                yield b"x\n"
            active -= 1

        metrics._tasks.queue_depths = depths  # type: ignore[method-assign]
        pages = await asyncio.gather(*[metrics.page() for _ in range(20)])
        assert all(body.endswith(b"x\n" * 5) for _, _, body in pages)
        assert most == 1
