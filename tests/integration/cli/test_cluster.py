"""`taskq up --nodes 3` and `taskq cluster` with real nodes."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from typing import Any

import pytest

from taskq.cli.local_folder import free_ports


def read_until(stream: Any, text: str) -> str:
    """Lines up to the one that holds `text`."""
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return "".join(lines)
    pytest.fail(f"{text!r} not in {''.join(lines)}")


def start(shell: Any, *options: str) -> tuple[Any, str]:
    """A cluster that has a leader, and which one."""
    up = shell.start("up", "--nodes", "3", "--data", "kept", "--port", "0", *options)
    shown = read_until(up.stdout, "export TASKQ_URL=")
    shell.environment["TASKQ_URL"] = shown.split("export TASKQ_URL=")[1].strip()
    (leader,) = [line.split()[0] for line in shown.splitlines() if line.endswith(" leads.")]
    return up, leader


def end(up: Any, shell: Any) -> None:
    os.killpg(up.pid, signal.SIGINT)
    _, log = up.communicate(timeout=30)
    assert up.returncode == 0, log
    assert shell.left() == []
    assert list(shell.scratch.iterdir()) == []


def test_a_cluster_keeps_its_tasks_and_goes_on_without_its_leader(shell: Any, until: Any) -> None:
    up, leader = start(shell)
    task_id = shell.run("submit", "q").stdout.strip()
    os.kill(shell.node(leader), signal.SIGKILL)
    second = shell.run("submit", "q").stdout.strip()
    told = read_until(up.stderr, f"{leader} is started again.")
    assert f"{leader} ended (signal 9). Its log: kept/{leader}.log." in told

    def whole() -> bool:
        # A node that has just come back answers before it has heard who leads: exit code 1.
        told = shell.run("cluster", "status", "--json", code=None).stdout
        members = json.loads(told).get("members", [])
        return sorted(one["role"] for one in members) == ["follower", "follower", "leader"]

    until(whole, 20)
    end(up, shell)
    secret = shell.folder / "kept" / "raft-secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    up, _ = start(shell)
    assert {task["id"] for task in shell.json("tasks")["tasks"]} == {task_id, second}
    end(up, shell)


@pytest.mark.slow
def test_top_goes_on_without_the_leader(shell: Any) -> None:
    up, leader = start(shell)
    top = shell.start("top", "--interval", "200ms")
    assert f"leader {leader}" in read_until(top.stdout, "All 3 members serve")
    os.kill(shell.node(leader), signal.SIGKILL)
    shown = read_until(top.stdout, "2 of 3 members serve")
    others = {"node1", "node2", "node3"} - {leader}
    assert any(f"leader {other}" in shown for other in others)
    read_until(top.stdout, "All 3 members serve")
    top.send_signal(signal.SIGINT)
    _, told = top.communicate(timeout=20)
    assert top.returncode == 130, told
    assert "Traceback" not in told
    end(up, shell)


def test_status_and_transfer(shell: Any) -> None:
    up, leader = start(shell)
    document = shell.json("cluster", "status")
    assert (document["leader"], document["node_id"]) == (leader, leader)
    assert [one["node_id"] for one in document["members"]] == ["node1", "node2", "node3"]
    serves = "All 3 members serve; the cluster goes on without any one of them."
    deadline = time.monotonic() + 10  # a member that has just begun to serve says so a little later
    while serves not in (shown := shell.run("cluster", "status").stdout):
        assert time.monotonic() < deadline, shown
    target = next(name for name in ("node1", "node2") if name != leader)
    assert f"{target} leads now" in shell.run("cluster", "transfer", target).stdout
    assert shell.json("cluster", "status")["leader"] == target
    moved = shell.json("cluster", "transfer")
    assert moved["leader"] != target
    refused = shell.run("cluster", "transfer", "node9", code=1)
    assert "node9" in refused.stderr
    end(up, shell)


def test_a_node_without_a_majority_says_that_nobody_leads(shell: Any) -> None:
    first, second = free_ports(2)
    settings = {
        "broker.host": "127.0.0.1",
        "broker.port": free_ports(1, {first, second})[0],
        "monitoring.prometheus_port": 0,
        "raft.enabled": "true",
        "raft.port": first,
        "raft.peers": f"node1=127.0.0.1:{first},node2=127.0.0.1:{second}",
    }
    node = shell.start("broker", *(f"--set={path}={value}" for path, value in settings.items()))
    read_until(node.stderr, '"serving"')
    url = f"taskq://127.0.0.1:{settings['broker.port']}"
    shown = shell.run("cluster", "status", "--url", url, code=1).stdout
    assert "being founded" in shown
    assert "waiting for node2" in shown


def test_folders_of_clusters_and_single_brokers_are_told_apart(shell: Any) -> None:
    up = shell.start("up", "--data", "single", "--port", "0")
    read_until(up.stdout, "export TASKQ_URL=")
    end(up, shell)
    refused = shell.run("up", "--nodes", "3", "--data", "single", "--port", "0", code=1)
    assert "single holds the tasks of a single broker" in refused.stderr
    up, _ = start(shell)
    end(up, shell)
    refused = shell.run("up", "--data", "kept", "--port", "0", code=1)
    assert "kept holds a cluster: taskq up --nodes 3 --data kept" in refused.stderr
    refused = shell.run("up", "--nodes", "5", "--data", "kept", "--port", "0", code=1)
    assert "holds a cluster of 3 nodes, not of 5" in refused.stderr


def test_a_node_that_cannot_start_is_named_with_its_last_words(shell: Any) -> None:
    up, _ = start(shell)
    end(up, shell)
    (shell.folder / "kept" / "node2" / "node.json").unlink()
    failed = shell.run("up", "--nodes", "3", "--data", "kept", "--port", "0", code=1)
    assert "node2 did not start (exit 1)" in failed.stderr
    assert "no node.json" in failed.stderr
    assert shell.left() == []
