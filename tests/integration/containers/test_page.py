"""docs/containers.md from its first command to its last, with the compose file as it stands."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.docs.conftest import DOCS, ROOT, reader
from tests.integration.docs.page import Reader

__all__ = ["reader"]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(170, func_only=True)]

PAGE = (DOCS / "containers.md").read_text("utf-8")
# Where the plugin is missing, its forerunner does the same.
SHIM = """#!/bin/sh
if [ "$1" = compose ]; then shift; exec docker-compose "$@"; fi
exec {docker} "$@"
"""
ANEW = "and made anew."


@pytest.fixture
def path(tmp_path: Path) -> str:
    """PATH on which `docker compose` works."""
    docker = shutil.which("docker")
    if (
        docker
        and not subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        return os.environ["PATH"]
    if not (docker and shutil.which("docker-compose")):
        pytest.skip("neither `docker compose` nor docker-compose is here")
    shim = tmp_path / "bin" / "docker"
    shim.parent.mkdir()
    shim.write_text(SHIM.format(docker=docker))
    shim.chmod(0o755)
    return f"{shim.parent}:{os.environ['PATH']}"


@pytest.fixture
def project(path: str) -> Iterator[str]:
    """The name of a compose project, of which nothing is left afterwards."""
    name = f"taskq-{uuid.uuid4().hex[:8]}"
    yield name
    command = ["docker", "compose", "--project-name", name, "down", "--volumes", "-t", "1"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True)


def addresses(engine: Any, project: str) -> dict[str, str]:
    """Of the project's containers, by service."""
    found = {}
    for one in engine.containers.list(filters={"label": f"com.docker.compose.project={project}"}):
        (network,) = one.attrs["NetworkSettings"]["Networks"].values()
        found[one.labels["com.docker.compose.service"]] = network["IPAddress"]
    return found


def test_the_page(
    reader: Callable[..., Reader],
    path: str,
    project: str,
    engine: Any,
    image: str,
) -> None:
    """While everything is down, somebody takes the addresses: all nodes come back elsewhere."""
    somebody = reader(ROOT, PATH=path, COMPOSE_PROJECT_NAME=project)
    before, after = PAGE.split(ANEW)
    first, down = before.rsplit("Everything is removed", 1)
    somebody.follow(first)
    was = addresses(engine, project)
    networks = engine.networks.list(filters={"label": f"com.docker.compose.project={project}"})
    (subnet,) = {one.attrs["IPAM"]["Config"][0]["Subnet"] for one in networks}
    somebody.follow(down)
    ipam = {"Driver": "default", "Config": [{"Subnet": subnet}]}
    taken = engine.networks.create(f"{project}-taken", ipam=ipam)
    try:
        back, rest = after.split("On the host")
        somebody.follow(back)
        now = addresses(engine, project)
        assert set(now) == {"node1", "node2", "node3", "worker"}
        assert set(was.values()).isdisjoint(now.values())
        somebody.follow(rest)
    finally:
        taken.remove()
    assert addresses(engine, project) == {}


def test_every_node_of_the_compose_file_is_closed_in() -> None:
    composed = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))
    services = composed["services"]
    assert set(services) == {"node1", "node2", "node3", "worker"}
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
