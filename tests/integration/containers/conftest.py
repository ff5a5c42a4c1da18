"""The engine and the image for all tests here. Without an engine they are skipped, and say so."""

from __future__ import annotations

import contextlib
import faulthandler
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException, NotFound
from docker.models.containers import Container

ROOT = Path(__file__).parents[3]
IMAGE = "taskq:test"


@pytest.fixture(scope="session", autouse=True)
def engine() -> Iterator[Any]:
    """The Docker engine."""
    try:
        found = docker.from_env()
        found.ping()
    except DockerException as error:
        pytest.skip(
            f"no Docker engine answers (as root, chaos/docker-engine.sh makes one): {error}"
        )
    yield found
    found.close()


@pytest.fixture(scope="session")
def image(engine: Any) -> str:
    """The name of the image, built from the sources as they are."""
    # A first build takes longer than the time after which every stack is printed.
    faulthandler.cancel_dump_traceback_later()
    done = subprocess.run([ROOT / ".ci/image", IMAGE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return IMAGE


@pytest.fixture
def container(engine: Any, image: str) -> Iterator[Callable[..., Container]]:
    """Starts containers of the image, read-only and without privileges; they are removed at the
    end, with their volumes. `options` go to the engine."""
    made: list[Container] = []

    def start(*command: str, **options: Any) -> Container:
        closed = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
        one = engine.containers.create(image, list(command), **{**closed, **options})
        made.append(one)
        one.start()
        return one

    yield start
    for one in made:
        with contextlib.suppress(NotFound):  # a test may remove its own
            one.remove(force=True, v=True)
