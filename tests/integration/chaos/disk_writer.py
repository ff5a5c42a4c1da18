"""Small programs that write to a shimmed disk and are killed, as by a power cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.live.shim.build import NoCompiler
from chaos.live.shim.control import ShimmedDisk

# What every program has: the folder, and what it takes to write, to sync and to end at once.
PROLOGUE = """
import os, sys
folder = sys.argv[1]
def at(name): return os.path.join(folder, name)
def opened(name): return os.open(at(name), os.O_RDWR | os.O_CREAT, 0o644)
def put(name, data, offset=0):
    fd = opened(name)
    os.pwrite(fd, data, offset)
    return fd
def synced(fd): os.fsync(fd)
def sync_folder(name=""):
    fd = os.open(at(name), os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
"""
EPILOGUE = """
os.kill(os.getpid(), 9)
"""


def shimmed(home: Path) -> ShimmedDisk:
    """A disk in front of `home`/data. Skips, visibly, where nothing can be compiled; but not in
    CI."""
    (home / "data").mkdir(parents=True, exist_ok=True)
    try:
        return ShimmedDisk(home / "data", home / "disk")
    except NoCompiler as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def run(disk: ShimmedDisk, program: str) -> None:
    """Runs a program on the disk, which kills itself when it has come to its end."""
    words = [sys.executable, "-I", "-S", "-c", PROLOGUE + program + EPILOGUE, str(disk.folder)]
    # Variables that start with PYTHON are passed over; ours are for the loader.
    outcome = subprocess.run(
        words, env={**os.environ, **disk.environment}, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == -signal.SIGKILL, outcome.stderr


def content(disk: ShimmedDisk) -> dict[str, bytes]:
    """Every file of the folder, by relative path; folders end in a slash."""
    found = {}
    for path in sorted(disk.folder.rglob("*")):
        name = str(path.relative_to(disk.folder))
        found[name if path.is_file() else name + "/"] = path.read_bytes() if path.is_file() else b""
    return found
