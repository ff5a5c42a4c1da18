"""Metrics parse, and equal the truth; probes say what is missing."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.server.health import Health
from cluster.server.metrics import Metrics, probes
from taskq import commands
from taskq.errors import ErrorCode, refuse
from tests.unit.server.rig import Rig, claim, submit, task_id

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(rig: Rig) -> Samples:
    _, kind, body = await Metrics(rig.replica, rig.server, lambda: 12_345).page()
    assert kind.startswith("text/plain")
    samples: Samples = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, key
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


async def test_task_metrics_equal_the_state() -> None:
    rig = Rig()
    peer = rig.peer()
    for number, (queue, priority) in enumerate(
        [("a", 255), ("a", 150), ("a", 10), ("b.c:d", 0)], 1
    ):
        peer.ask(submit(number, queue, priority=priority, payload=b"x" * 50))
    peer.send(*[submit(n, "run", max_retries=0) for n in range(10, 16)])
    tasks = peer.ask(claim(1, "run", max_tasks=6)).tasks
    rig.loop.advance(3)
    for task in tasks[:3]:
        peer.ask(commands.Ack(task.task_id, task.token))
    peer.ask(commands.TaskResult(tasks[3].task_id, tasks[3].token, False, None, "boom"))
    peer.ask(submit(20, "later", delay_ms=60_000))
    peer.ask(commands.CancelTask(task_id(20)))
    found = await scrape(rig)
    stats = peer.ask(commands.GetStats())
    assert value(found, "tq_is_leader") == 1
    for outcome, count in {"submitted": 11, "completed": 3, "dead": 1, "cancelled": 1}.items():
        assert value(found, "tq_tasks_total", outcome=outcome) == count == stats.totals[outcome]
    assert value(found, "tq_tasks_pending") == 4
    assert value(found, "tq_tasks_in_progress") == 2
    assert value(found, "tq_workers_connected") == 1
    for queue, tier, count in [
        *(("a", "high", 1), ("a", "normal", 1), ("a", "low", 1)),
        *(("b.c:d", "low", 1), ("b.c:d", "high", 0), ("run", "normal", 0)),
    ]:
        assert value(found, "tq_broker_queue_depth", queue=queue, tier=tier) == count
    name = "tq_task_processing_duration_seconds"
    assert value(found, f"{name}_count") == 3
    assert value(found, f"{name}_sum") == pytest.approx(9.0, abs=0.1)
    assert value(found, f"{name}_bucket", le="2.5") == 0
    assert value(found, f"{name}_bucket", le="5.0") == 3
    assert value(found, f"{name}_bucket", le="+Inf") == 3
    assert value(found, "tq_dead_letter_bytes") == stats.dead_size > 0
    assert value(found, "tq_waiting_bytes") == stats.waiting_size > 200
    assert value(found, "tq_claimed_total") == 6


async def test_leases_past_their_time_are_counted() -> None:
    rig = Rig()
    peer = rig.peer()
    beat = 3_600_000
    peer.ask(commands.RegisterWorker(b"w" * 16, heartbeat_interval_ms=beat))
    peer.send(submit(1), submit(2))
    peer.ask(claim(max_tasks=2, lease_ms=1_000))
    for passed, count in [(0.0, 0), (15.9, 0), (0.2, 2)]:
        rig.loop.advance(passed)
        assert value(await scrape(rig), "tq_overage_leases") == count


async def test_who_does_not_lead_counts_itself_but_no_tasks() -> None:
    rig = Rig()
    rig.peer().ask(submit(1))
    rig.replica.leader = "node2"
    found = await scrape(rig)
    assert value(found, "tq_is_leader") == 0
    assert value(found, "tq_connections") == 1
    assert not [key for key in found if key[0].startswith(("tq_tasks", "tq_broker", "tq_worker"))]


async def test_a_closed_disk_does_not_break_the_scrape() -> None:
    rig = Rig()
    rig.replica.closed = refuse(ErrorCode.UNAVAILABLE, "opening again")
    assert value(await scrape(rig), "tq_disk_free_bytes") == 12_345


async def test_node_metrics_equal_what_happened() -> None:
    rig = Rig(connection_count_max=3)
    peers = [rig.peer() for _ in range(5)]
    peer = peers[0]
    size = len(peer.pipe.written[0])
    peer.send(*[submit(n) for n in range(1, 21)])
    peer.ask(commands.QueryStatus(task_id(99)))
    peers[1].send(claim(1, "nothing"))
    peers[2].receive(b"\xff" * 20)
    found = await scrape(rig)
    assert value(found, "tq_connections") == 2
    assert value(found, "tq_connections_accepted_total") == 5
    assert value(found, "tq_connections_refused_total") == 2
    assert value(found, "tq_parked_claims") == 1
    assert value(found, "tq_requests_total", message="SubmitTask", outcome="ok") == 20
    assert value(found, "tq_requests_total", message="QueryStatus", outcome="NOT_FOUND") == 1
    assert value(found, "tq_requests_total", message="none", outcome="INVALID_REQUEST") == 1
    assert value(found, "tq_requests_total", message="Hello", outcome="TOO_MANY_CONNECTIONS") == 2
    assert value(found, "tq_request_duration_seconds_count") == 23
    assert value(found, "tq_sent_bytes_total") == sum(
        len(data) for one in peers for data in one.pipe.written
    )
    assert value(found, "tq_received_bytes_total") > 20 * 20
    assert size > 0
    assert value(found, "tq_applied_index") == rig.replica.applied_index
    assert value(found, "tq_disk_free_bytes") == 12_345
    assert any(key[0] == "process_resident_memory_bytes" for key in found)


async def test_thousands_of_queues_do_not_stop_the_loop() -> None:
    rig = Rig()
    peer = rig.peer()
    for start in range(0, 3_000, 1_000):
        tasks = [list(submit(n + 1, f"queue-{n}")) for n in range(start, start + 1_000)]
        peer.ask(commands.SubmitTasks(tasks))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    found = await scrape(rig)
    task.cancel()
    assert turns >= 6
    assert sum(1 for name, _ in found if name == "tq_broker_queue_depth") == 9_000
    assert value(found, "tq_broker_queue_depth", queue="queue-2999", tier="normal") == 1


async def test_probes() -> None:
    rig = Rig()
    health = Health(rig.replica, 30.0)
    pages = probes(health)

    async def statuses() -> tuple[int, int, int]:
        live, ready, started = [(await pages[p]())[0] for p in ("/livez", "/readyz", "/startupz")]
        return live, ready, started

    assert await statuses() == (200, 503, 503)
    health.started = True
    assert await statuses() == (200, 200, 200)
    rig.replica.leader = ""
    assert await statuses() == (200, 200, 200), "an election may be over in a moment"
    rig.replica.leader = "node1"
    rig.replica.full = refuse(ErrorCode.DISK_FULL, "3 bytes left")
    assert await statuses() == (200, 503, 200)
    assert b"3 bytes left" in (await pages["/readyz"]())[2]
    rig.replica.full = None
    rig.replica.closed = refuse(ErrorCode.UNAVAILABLE, "opening again")
    assert await statuses() == (200, 503, 200)
    assert b"opening again" in (await pages["/readyz"]())[2]
    rig.replica.closed = None
    health.stopping = True
    assert await statuses() == (200, 503, 200)
