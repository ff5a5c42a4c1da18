"""Grounds by the word for their form."""

from __future__ import annotations

import subprocess
from pathlib import Path

from chaos.live.ground import Ground

FORMS = ("processes", "namespaces", "containers")
BUILD_IMAGE = Path(__file__).parents[2] / ".ci" / "image"


def make_ready(form: str) -> None:
    """What all grounds of this form share: the image of this work tree. Raises OSError where it
    cannot be built, with the end of what the engine said."""
    if form == "containers":
        from chaos.live.containers import IMAGE

        done = subprocess.run([BUILD_IMAGE, IMAGE], check=False, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"no image: {(done.stdout + done.stderr)[-2000:]}")


def ground_of(form: str, seed: int = 0) -> Ground:
    """A ground of this form, with nothing made yet; the chance of its links is from `seed`. What it
    takes (root, an engine and its library) is asked for only then. Raises ImportError, OSError."""
    if form == "namespaces":
        from chaos.live.namespaces import Namespaces

        return Namespaces(seed)
    if form == "containers":
        from chaos.live.containers import Containers

        return Containers(seed=seed)
    assert form == "processes", form
    return Ground()
