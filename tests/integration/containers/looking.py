"""What a container is seen to say and do from outside."""

from __future__ import annotations

import json
import time
from typing import Any

from docker.models.containers import Container

# What the engine gives before it kills; a node that stops as it should needs some tenths.
GRACE_SECS = 10
WAIT_SECS = 20.0


def said(container: Container) -> list[dict[str, Any]]:
    """The node's log."""
    return [json.loads(line) for line in container.logs().decode().splitlines()]


def until(container: Container, message: str) -> dict[str, Any]:
    """Waits for a line of the node's log."""
    deadline = time.monotonic() + WAIT_SECS
    while True:
        for line in said(container):
            if line["message"] == message:
                return line
        container.reload()
        assert container.status == "running", container.logs().decode()
        assert time.monotonic() < deadline, container.logs().decode()
        time.sleep(0.05)


def address(container: Container) -> str:
    """Where it is reached from this machine."""
    container.reload()
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def stopped(container: Container) -> tuple[int, float]:
    """Stops it as an operator does; its exit code, and how many seconds it took."""
    began = time.monotonic()
    container.stop(timeout=GRACE_SECS)
    return int(container.wait()["StatusCode"]), time.monotonic() - began


def output(container: Container) -> str:
    """Of a command that ends by itself with 0."""
    assert container.wait()["StatusCode"] == 0, container.logs().decode()
    return str(container.logs(stdout=True, stderr=False).decode())
