"""Builds the library from the C sources, once for each version of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Wno-format-truncation", "-Werror")
LIBRARIES = ("-ldl", "-lpthread")


class NoCompiler(Exception):
    """The library cannot be built; the message says what to install, or what the compiler said."""


def cache_folder() -> Path:
    """Where built libraries are kept, for all copies of the sources."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "taskq-chaos"


@cache
def library() -> Path:
    """The built library. Raises NoCompiler."""
    sources = sorted(HERE.glob("*.c"))
    digest = hashlib.sha256()
    for path in (*sources, HERE / "disk.h"):
        digest.update(path.read_bytes())
    place = cache_folder() / f"disk-{digest.hexdigest()[:16]}.so"
    if not place.exists():
        _build(sources, place)
    return place


def _build(sources: list[Path], place: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompiler("the disk's library needs a C compiler: apt-get install gcc libc6-dev")
    place.parent.mkdir(parents=True, exist_ok=True)
    # Built aside: several tests may build it at once.
    with tempfile.TemporaryDirectory(dir=place.parent) as aside:
        built = Path(aside) / place.name
        words = [compiler, *FLAGS, "-o", str(built), *map(str, sources), *LIBRARIES]
        outcome = subprocess.run(words, capture_output=True, text=True, check=False)
        if outcome.returncode:
            hint = "are gcc and libc6-dev installed?"
            raise NoCompiler(f"the disk's library could not be built; {hint}\n{outcome.stderr}")
        os.replace(built, place)
