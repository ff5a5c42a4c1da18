"""Every command against one cluster of three nodes: what it prints, with `--json` as the page has
it, and what it does while the node that leads is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq.cli.cluster import ask
from taskq.client import Client
from taskq.errors import TaskqError
from taskq.results import ClusterStatus, TaskState
from tests.unit.cli.documented import check

WORK = """
import time

def run(what, secs=0):
    if what == "fail":
        raise ValueError("no luck")
    time.sleep(secs)
    return what
"""
QUEUE = "worked"


class Cluster:
    """`taskq up --nodes 3 --json` and a worker, with a shell to ask them."""

    def __init__(self, shell: Any, until: Callable[..., None]) -> None:
        self.shell = shell
        self.until = until
        self.run = shell.run
        (shell.folder / "work.py").write_text(WORK)
        self.up = shell.start("up", "--nodes", "3", "--data", "kept", "--port", "0", "--json")
        self.ready = check("up", json.loads(self.up.stdout.readline()))
        self.events: list[Any] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        shell.environment["TASKQ_URL"] = self.ready["url"]
        self.client = Client(self.ready["url"])
        options = ("--concurrency", "2", "--name", "the worker", "--json")
        self.worker = shell.start("worker", "work:run", "--queue", QUEUE, *options)
        self.log = self.worker.stderr.readline()

    def _read(self) -> None:
        self.events += map(json.loads, self.up.stdout)

    def json(self, command: str, *arguments: str, code: int = 0) -> Any:
        """The document of a command, as the page has it."""
        done = self.run(*command.split(), *arguments, "--json", code=code)
        return check(command, json.loads(done.stdout))

    def submit(self, *arguments: Any, queue: str = QUEUE) -> str:
        """The id of a task of the worker's function that is not retried."""
        payload = json.dumps({"args": arguments}).encode()
        headers = {"content-type": "application/json"}
        return str(self.client.submit(queue, payload, headers=headers, max_retries=0).id)

    def dead(self) -> str:
        """The id of a task that has died."""
        task_id = self.submit("fail")
        self.until(lambda: self.is_dead(task_id))
        return task_id

    def is_dead(self, task_id: str) -> bool:
        """Whether a task has died."""
        return self.client.status(task_id).state is TaskState.DEAD

    def status(self) -> ClusterStatus | None:
        """What the leader knows; None while nobody answers."""
        try:
            return ask(self.client)
        except TaskqError:
            return None

    def is_whole(self) -> bool:
        """Three members and one of them leads."""
        status = self.status()
        roles = sorted(member[2] for member in status.members) if status else []
        return roles == ["follower", "follower", "leader"]

    def kill_leader(self) -> str:
        """Kills the process of the node that leads; its name. All three were there."""
        self.until(self.is_whole)
        status = self.status()
        assert status is not None
        os.kill(self.shell.node(status.leader), signal.SIGKILL)
        return status.leader


@pytest.fixture(scope="module")
def cluster(new_shell: Any, until: Callable[..., None]) -> Iterator[Cluster]:
    made = Cluster(new_shell(), until)
    yield made
    made.client.close()


@pytest.fixture
def queue() -> str:
    return f"q-{uuid.uuid4().hex[:8]}"


# --- tasks ----------------------------------------------------------------------------------------


def test_result_waits_over_a_killed_leader(cluster: Cluster) -> None:
    task_id = cluster.submit("slow", 1.5)
    waiting = cluster.shell.start("result", task_id, "--wait", "--json")
    cluster.kill_leader()
    told, log = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, log
    assert check("result", json.loads(told))["result"] == '"slow"'


def test_submit_and_wait(cluster: Cluster) -> None:
    task_id = cluster.json("submit", QUEUE, "--json-args", '["a"]')["id"]
    assert cluster.client.result(task_id, timeout=20) == b'"a"'
    arguments = ["--json-args", '["fail"]', "--max-retries", "0", "--wait", "--json"]
    failed = cluster.run("submit", QUEUE, *arguments, code=1)
    error = json.loads(failed.stdout)["error"]
    assert error["kind"] == "TaskFailed"
    assert cluster.json("status", error["id"])["state"] == "dead"


def test_lists_right_after_the_leader_was_killed(cluster: Cluster, queue: str) -> None:
    cluster.client.submit(queue)
    dead = cluster.dead()
    cluster.kill_leader()
    assert cluster.json("workers")["workers"][0]["name"] == "the worker"
    (waiting,) = cluster.json("tasks", "--queue", queue)["tasks"]
    assert waiting["state"] == "ready"
    assert dead in [task["id"] for task in cluster.json("dead list")["tasks"]]
    assert cluster.json("dead show", dead)["reason"] == "ValueError: no luck"


def test_cancel(cluster: Cluster, queue: str) -> None:
    task_id = cluster.submit(queue=queue)
    answer = cluster.json("cancel", task_id)
    assert answer["tasks"] == [{"id": task_id, "state": "cancelled", "requested": False}]
    nobody = str(uuid.UUID(int=7))
    mixed = cluster.json("cancel", nobody, task_id, code=1)
    assert list(mixed["errors"]) == [nobody]


# --- queues and dead letters ----------------------------------------------------------------------


def test_queues_from_beginning_to_end(cluster: Cluster, queue: str) -> None:
    assert cluster.json("queues create", queue, "--lease", "20s")["done"] == "created"
    assert cluster.json("queues pause", queue)["done"] == "paused"
    (known,) = [one for one in cluster.json("queues list")["queues"] if one["name"] == queue]
    assert (known["paused"], known["lease"]) == (True, 20)
    cluster.kill_leader()
    assert cluster.json("queues resume", queue)["done"] == "resumed"
    cluster.client.submit(queue)
    refused = cluster.json("queues delete", queue, "nowhere", code=1)
    assert (refused["deleted"], list(refused["errors"])) == ([], [queue, "nowhere"])
    assert "1 ready" in refused["errors"][queue]
    assert cluster.json("queues purge", queue, "--yes")["count"] == 1
    assert cluster.json("queues delete", queue)["deleted"] == [queue]
    assert queue not in [one["name"] for one in cluster.json("queues list")["queues"]]


def test_dead_tasks_are_redriven_and_deleted(cluster: Cluster) -> None:
    first, second = cluster.dead(), cluster.dead()
    assert cluster.json("dead redrive", first)["redriven"] == 1
    cluster.until(lambda: cluster.is_dead(first))
    assert cluster.json("dead delete", first, second, "--yes")["deleted"] == 2
    refused = cluster.json("dead delete", first, "--yes", code=1)
    assert (refused["deleted"], list(refused["errors"])) == (0, [first])


# --- the cluster ----------------------------------------------------------------------------------


def test_the_cluster_is_told_of_while_its_leader_is_killed(cluster: Cluster) -> None:
    assert cluster.json("stats")["leader"] in {"node1", "node2", "node3"}
    killed = cluster.kill_leader()
    seen = cluster.json("top", "--interval", "1500ms")
    assert seen["cluster"]["leader"] not in ("", killed)
    assert seen["stats"]["worker_count"] == 1
    check("stats", seen["stats"])
    assert check("cluster status", seen["cluster"])["term"] > 1
    cluster.until(cluster.is_whole)
    assert cluster.json("cluster status")["leader"] == seen["cluster"]["leader"]
    moved = cluster.json("cluster transfer", killed)
    assert moved["leader"] == killed
    told = [event["event"] for event in cluster.events]
    assert "node" in told
    assert any(event.get("leader") == seen["cluster"]["leader"] for event in cluster.events)
    for event in cluster.events:
        check("up", event, {"node": 1, "leader": 2}[event["event"]])


@pytest.mark.parametrize("command", ["tasks --json", "stats", "top"])
def test_a_reader_that_goes_away_ends_a_command_without_a_word(
    cluster: Cluster, command: str
) -> None:
    taskq = [sys.executable, "-P", "-m", "taskq.cli", *command.split()]
    interval = ["--interval", "100ms"] if command == "top" else []
    told, ours = os.pipe()
    os.close(told)
    try:
        done = subprocess.run(
            [*taskq, *interval],
            env=cluster.shell.environment,
            stdout=ours,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
        )
    finally:
        os.close(ours)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_output_that_cannot_be_written(cluster: Cluster) -> None:
    script = f"{sys.executable} -P -m taskq.cli queues list"
    for where, code, text in ((">/dev/full", 1, "No space left on device.\n"), (">&-", 0, "")):
        done = subprocess.run(
            ["sh", "-c", f"{script} {where}"],
            env=cluster.shell.environment,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
        )
        assert (done.returncode, done.stderr) == (code, text)


def test_ctrl_c_ends_a_wait_and_all_of_it(cluster: Cluster, queue: str) -> None:
    waiting = cluster.shell.start("submit", queue, "--wait")
    assert "waiting for it to end" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    told, log = waiting.communicate(timeout=10)
    assert (waiting.returncode, told, log) == (130, "", "\n")
    cluster.worker.send_signal(signal.SIGTERM)
    counts, log = cluster.worker.communicate(timeout=20)
    check("worker", json.loads(counts), 1)
    for line in (cluster.log, *log.splitlines()):
        check("worker", {"error": None, **json.loads(line)})
    cluster.until(cluster.is_whole)
    os.killpg(cluster.up.pid, signal.SIGINT)
    assert cluster.up.wait(30) == 0
    cluster.until(lambda: bool(cluster.events) and cluster.events[-1]["event"] == "stopping")
    assert cluster.shell.left() == []
