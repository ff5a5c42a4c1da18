"""An app in a folder of its own, workers as people start them, and nodes to serve them."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.serving import serving_node

ROOT = Path(__file__).parents[3]

SHOP = """
import ctypes, os, time
import taskq

app = taskq.App(queue="shop")

@app.task(name="add")
def add(a, b=1):
    return {"sum": a + b, "given": (a, b)}

@app.task(name="fail", max_retries=0)
def fail(text):
    raise RuntimeError(text)

@app.task(name="nap", queue="naps", max_retries=0)
def nap(secs):
    time.sleep(secs)
    return "slept"

@app.task(name="hold", queue="naps", max_retries=0)
def hold(secs):
    ctypes.PyDLL(None).usleep(int(secs * 1e6))  # keeps the interpreter lock
    return taskq.current_task().attempt

@app.task(name="die", queue="naps", max_retries=0)
def die():
    os._exit(9)

@app.task(name="about")
def about():
    task = taskq.current_task()
    return [str(task.id), task.attempt, task.token, task.deadline and task.deadline.isoformat(),
            task.is_cancelled, task.name, task.extend(60).total_seconds()]

@app.task(name="until_cancelled", queue="naps", max_retries=0)
def until_cancelled():
    while not taskq.current_task().is_cancelled:
        time.sleep(0.01)
    return "asked to stop"

@app.task(name="sleep_async", queue="naps", max_retries=0)
async def sleep_async(secs):
    import asyncio
    await asyncio.sleep(secs)

@app.task(name="outer")
def outer(a):
    return str(add.submit(a).id)

@app.task(name="append")
def append(path, line):
    with open(path, "a") as file:
        file.write(f"{line}\\n")
    time.sleep(0.02)
"""


class Shop:
    """The app, and workers for it; `url` is where they find the cluster."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        (folder / "shop.py").write_text(SHOP)
        # They must not hide what is installed.
        (folder / "cluster.py").write_text("raise ImportError('the wrong cluster')\n")
        self.module = self._imported()
        self._workers: list[subprocess.Popen[bytes]] = []

    def _imported(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("shop", self.folder / "shop.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.app._url = self.url
        return module

    def work(self, *arguments: str, target: str = "shop:app") -> subprocess.Popen[bytes]:
        """Starts a worker; it is there once it has written that it is."""
        log = self.log(len(self._workers))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TASKQ")},
            "PYTHONPATH": str(ROOT),
            "TASKQ_URL": self.url,
        }
        with log.open("wb") as file:
            worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "taskq.cli", "worker", target, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self._workers.append(worker)
        until(lambda: worker.poll() is not None or b" at a time." in log.read_bytes())
        assert worker.poll() is None, log.read_text()
        return worker

    def log(self, number: int = 0) -> Path:
        """The log of a worker."""
        return self.folder / f"worker{number}.log"

    def close(self) -> None:
        self.module.app.close()
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
            worker.wait()


def until(condition: Callable[[], object], within_secs: float = 30.0) -> None:
    """Waits until a condition holds; fails the test where it does not in time."""
    deadline = time.monotonic() + within_secs
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node that serves for the tests of a module; its URL."""
    with serving_node(tmp_path_factory.mktemp("node")) as node:
        yield node.url


@pytest.fixture
def shop(tmp_path: Path, node: str) -> Iterator[Shop]:
    made = Shop(tmp_path, node)
    yield made
    made.close()
