"""An image of a later version, to be rolled out over the one that is tried."""

from __future__ import annotations

import tempfile
from pathlib import Path

import docker
from docker.errors import DockerException

from tests.builds.tomorrow import VERSION, make

# Beside the packages of the image, and found before them.
PLACE = "/opt/next"
TAG = "taskq:next"
BUILD_SECS = 120

__all__ = ["TAG", "VERSION", "build_next"]


def build_next(image: str) -> str:
    """Builds it on top of `image`; its name. Raises OSError where it cannot be built."""
    with tempfile.TemporaryDirectory(prefix="taskq-next-") as home:
        tree = Path(home) / "tree"
        make(tree)
        lines = [f"FROM {image}", f"COPY . {PLACE}", f"ENV PYTHONPATH={PLACE}"]
        (tree / "Dockerfile").write_text("\n".join([*lines, ""]))
        engine = docker.from_env(timeout=BUILD_SECS)
        try:
            built, _ = engine.images.build(path=str(tree), tag=TAG, rm=True)
            assert built.id is not None
            return str(built.id)
        except DockerException as error:
            raise OSError(f"the later version cannot be built: {error}") from error
        finally:
            engine.close()
