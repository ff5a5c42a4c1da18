"""The broker in memory through what needs threads, sockets, real time: blocking clients, urls."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskq
from taskq.testing import Broker

pytest_plugins = ["taskq.testing.fixtures"]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as made:
        yield made
        made.check()


def test_blocking_client(broker: Broker) -> None:
    client = broker.client()
    assert isinstance(client, taskq.Client)
    handle = client.submit("mails", b"x", delay=60)
    worker = client.worker()
    assert worker.claim(["mails"]) == []
    broker.advance(60)
    (task,) = worker.claim(["mails"])
    worker.complete(task, b"sent")
    assert handle.result() == b"sent"
    assert [one.id for one in client.tasks()] == [handle.id]


def test_a_task_that_was_described_before_is_submitted_alone(broker: Broker) -> None:
    client = broker.client()
    spec = taskq.TaskSpec(queue="mails", payload=b"x", task_id=bytes(15) + b"1")
    handle = client.submit_spec(spec)
    assert isinstance(handle, taskq.TaskHandle)
    assert client.submit_spec({"queue": "mails", "payload": b"x", "task_id": handle.id}) == handle
    assert [one.id for one in client.tasks()] == [handle.id]
    with pytest.raises(TypeError, match="colour"):
        client.submit_spec({"queue": "mails", "colour": "red"})
    with pytest.raises(taskq.InvalidRequest, match="queue"):
        client.submit_spec({"queue": "two words"})


def test_a_worker_by_hand_says_that_it_does_not_know_a_task(broker: Broker) -> None:
    client = broker.client()
    handle = client.submit("mails", name="new")
    worker = client.worker()
    for wait in [1, 2, 4, 8, 16, 32, 64, 64, 64]:
        (task,) = worker.claim(["mails"])
        assert worker.release(task, 1, unknown_task=True) is taskq.TaskState.SCHEDULED
        broker.advance(wait)
    (task,) = worker.claim(["mails"])
    assert worker.release(task, 1, unknown_task=True) is taskq.TaskState.DEAD
    with pytest.raises(taskq.TaskFailed, match="UNKNOWN_TASK"):
        handle.result()


def test_an_app_waits_for_room_if_it_is_told_to() -> None:
    with Broker(settings={"queue_depth_threshold": 2}) as broker, taskq.App(broker.url) as app:
        largest = app.task(max)
        specs = [largest.spec(1, 2) for _ in range(3)]
        assert [isinstance(one, taskq.QueueFull) for one in app.submit_many(specs)] == [0, 0, 1]

        def make_room() -> None:
            worker = broker.client().worker()
            for _ in range(2):
                worker.claim(["default"], 2, wait=20)

        working = threading.Thread(target=make_room)
        working.start()
        answers = asyncio.run(app.submit_many_async(specs, timeout=30, retry_full=True))
        working.join()
        assert [type(one) for one in answers] == [taskq.AsyncHandle] * 3
        answers = app.submit_many(specs, timeout=0.05, retry_full=True)
        assert [isinstance(one, taskq.QueueFull) for one in answers] == [0, 1, 1]


def test_a_wait_ends_with_real_time_as_well(broker: Broker) -> None:
    client = broker.client()
    handle = client.submit("q", delay=10)
    assert client.worker().claim(["q"], wait=0.05) == []
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.05)


def test_another_thread_gets_what_becomes_ready(broker: Broker) -> None:
    client = broker.client()
    claimed: list[taskq.ClaimedTask] = []
    waits = threading.Event()

    def work() -> None:
        worker = broker.client().worker()
        worker.register()
        waits.set()
        claimed.extend(worker.claim(["q"], wait=20))

    thread = threading.Thread(target=work)
    thread.start()
    assert waits.wait(10)
    client.submit("q", b"late", delay=10)
    broker.advance(10)
    thread.join(10)
    assert [task.payload for task in claimed] == [b"late"]


def test_many_threads_share_a_broker(broker: Broker) -> None:
    def submit() -> None:
        client = broker.client()
        for _ in range(50):
            client.submit("q")

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert broker.client().stats().totals["submitted"] == 200


def test_a_client_of_a_closed_broker_ends() -> None:
    with Broker() as broker:
        client = broker.client()
        client.submit("q")
    with pytest.raises(taskq.ConnectionFailed):
        client.submit("q")


def test_code_that_makes_its_own_client(taskq_broker: Broker, taskq_url: str) -> None:
    with taskq.Client() as client:  # TASKQ_URL
        handle = client.submit("q", b"x", delay=5)
    taskq_broker.advance(5)
    own = taskq_broker.client()
    assert own.status(handle.id).state is taskq.TaskState.READY
    assert taskq_broker.url == taskq_url == os.environ["TASKQ_URL"]


def test_programs_reach_it_by_its_url(broker: Broker) -> None:
    environment = {**os.environ, "TASKQ_URL": broker.url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "taskq.cli", "submit", "q", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    (task,) = broker.client().tasks()
    assert json.loads(done.stdout) == {"id": str(task.id)}


def test_connections_to_the_port_end_with_the_broker() -> None:
    with Broker() as broker:
        client = taskq.Client(broker.url, timeout=0.3)
        client.ping()
    with client, pytest.raises(taskq.ConnectionFailed):
        client.ping()
