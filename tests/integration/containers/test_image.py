"""The image: what is in it, who it runs as, and how it takes signals as the first process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from chaos.live.asking import ask
from taskq import Client
from taskq.commands import Ping
from tests.integration.containers.looking import (
    GRACE_SECS,
    WAIT_SECS,
    address,
    output,
    said,
    stopped,
    until,
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60, func_only=True)]

Start = Callable[..., Container]
# Leaves a grandchild without a parent, which ends a moment later.
ORPHAN = """
import os, time
reading, writing = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.2)
    os._exit(0)
os.wait()
os.close(writing)
os.read(reading, 1)  # until the grandchild has gone
time.sleep(0.5)
print("ended", flush=True)
time.sleep(60)
"""


async def test_a_node_serves_on_a_read_only_root_as_nobody_in_particular(container: Start) -> None:
    node = container()
    until(node, "serving")
    await ask(address(node), 6379, Ping())
    assert node.exec_run(["id", "-u"]).output == b"10001\n"
    assert b"Read-only file system" in node.exec_run(["touch", "/opt/taskq/mine"]).output
    status = node.exec_run(["cat", "/proc/1/status"]).output.decode()
    assert "CapEff:\t0000000000000000\n" in status
    assert "NoNewPrivs:\t1\n" in status


def test_the_data_outlives_the_container(container: Start, engine: Any) -> None:
    volume = engine.volumes.create()
    mounted = {"volumes": {volume.name: {"bind": "/var/lib/taskq", "mode": "rw"}}}
    try:
        first = container(**mounted)
        until(first, "serving")
        with Client(f"taskq://{address(first)}:6379") as client:
            task_id = client.submit("q", b"kept").id
        first.remove(force=True)
        second = container(**mounted)
        until(second, "serving")
        with Client(f"taskq://{address(second)}:6379") as client:
            assert client.status(task_id).state.name == "READY"
        second.remove(force=True)
    finally:
        volume.remove(force=True)


def test_sigterm_stops_a_node_within_the_grace(container: Start) -> None:
    node = container()
    until(node, "serving")
    code, secs = stopped(node)
    assert code == 0
    assert secs < GRACE_SECS / 2
    assert said(node)[-1]["message"] == "stopped"


@pytest.mark.parametrize("after_secs", [0.0, 0.2])
def test_sigterm_ends_a_start_that_is_not_done(container: Start, after_secs: float) -> None:
    """As process 1 it would be deaf until it has a handler."""
    node = container()
    time.sleep(after_secs)
    code, secs = stopped(node)
    assert code in (0, 128 + 15)
    assert secs < GRACE_SECS / 2


@pytest.mark.parametrize(("first", "left"), [("tini", 0), ("python", 1)])
def test_what_tasks_leave_behind_is_collected(container: Start, first: str, left: int) -> None:
    """A process whose parent has gone is a child of process 1. A program in that place does not
    know of it: it stays as a zombie."""
    entrypoint = {"entrypoint": ["python"]} if first == "python" else {}
    words = ["-c", ORPHAN] if first == "python" else ["python", "-c", ORPHAN]
    here = container(*words, **entrypoint)
    deadline = time.monotonic() + WAIT_SECS
    while b"ended" not in here.logs():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    states = here.exec_run(["sh", "-c", "cat /proc/[0-9]*/stat"]).output.decode().splitlines()
    assert f"1 ({first}) S" in states[0]
    assert len([line for line in states if ") Z " in line]) == left


def test_configuration_by_file_and_environment(container: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "taskq.yaml").write_text("broker:\n  port: 7001\nraft:\n  node_id: filed\n")
    node = container(
        *("tq-broker", "--config", "/etc/taskq/taskq.yaml"),
        environment={"TASKQ_BROKER__PORT": "7002"},
        volumes={str(tmp_path): {"bind": "/etc/taskq", "mode": "ro"}},
    )
    serving = until(node, "serving")
    assert (serving["node"], serving["broker"]) == ("filed", "127.0.0.1:7002")


def test_a_mistake_ends_it_and_says_which(container: Start) -> None:
    node = container(environment={"TASKQ_BROKER__PORT": "here"})
    assert node.wait()["StatusCode"] == 1
    assert "broker.port = here" in node.logs().decode()


def test_the_command_line_is_in_it(container: Start) -> None:
    assert output(container("taskq", "--version")).startswith("taskq-cluster ")


def test_nothing_that_only_builds_is_in_it(container: Start, engine: Any, image: str) -> None:
    tools = "for tool in cc gcc g++ make patchelf; do command -v $tool; done; true"
    assert output(container("sh", "-c", tools)) == ""
    packages = output(container("ls", *["/opt/taskq/lib/python3.11/site-packages"]))
    assert "plyvel" in packages
    assert not {"pip", "hatchling", "auditwheel", "pytest"} & set(packages.split())
    history = engine.images.get(image).history()
    (user,) = [place for place, layer in enumerate(history) if "useradd" in layer["CreatedBy"]]
    own = sum(layer["Size"] for layer in history[: user + 1])  # the newest layer comes first
    assert 10_000_000 < own < 80_000_000
