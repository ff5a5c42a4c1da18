"""The command line as people run it: in processes of its own, against a real node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TASKQ = [sys.executable, "-P", "-m", "taskq.cli"]


def wait_for(condition: Callable[[], object], within: float = 20.0, what: str = "") -> None:
    """Waits until a condition holds; fails the test where it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {within} s: {what or condition}")
        time.sleep(0.02)


class Shell:
    """Runs `taskq` with a marked environment, so that every process it leaves can be found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder / "tmp"
        self.scratch.mkdir()
        self._mark = uuid.uuid4().hex
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TASKQ")},
            "TASKQ_TEST_MARK": self._mark,
            "TMPDIR": str(self.scratch),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "160",
        }
        self._started: list[subprocess.Popen[str]] = []

    def run(
        self, *arguments: str, code: int | None = 0, stdin: str = "", timeout: float = 40.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; fails the test unless it ends with `code`; None: whatever."""
        done = subprocess.run(
            [*TASKQ, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert code in (None, done.returncode), f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> object:
        """The document of a command."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command as a terminal would: leader of a process group of its own."""
        process = subprocess.Popen(
            [*TASKQ, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def left(self) -> list[int]:
        """Processes with our mark that still run."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    marked = self._mark.encode() in (folder / "environ").read_bytes()
                except OSError:
                    continue
                if marked:
                    found.append(int(folder.name))
        return found

    def node(self, name: str) -> int:
        """The process of a node that one of our commands has started."""
        wanted = f"raft.node_id={name}".encode()
        found = [pid for pid in self.left() if wanted in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(found) == 1, found
        return found[0]

    def close(self) -> None:
        """Ends whatever a failed test has left."""
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._started:
            told = process.communicate()
            # Seen where a test fails.
            sys.stderr.write(f"{process.args} ended with {process.returncode}: {told}\n")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_what_is_started() -> None:
    """A shell lets its background jobs ignore SIGINT, and they hand that on: also to what the tests
    of such a job start, which then could not be interrupted."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def new_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Shell]]:
    """Makes shells that last as long as the tests of a module."""
    shells: list[Shell] = []

    def make() -> Shell:
        shells.append(Shell(tmp_path_factory.mktemp("shell")))
        return shells[-1]

    yield make
    for made in shells:
        made.close()


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    return wait_for


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node that serves for the tests of a module."""
    folder = tmp_path_factory.mktemp("node")
    ready = folder / "ready.json"
    settings = {
        "broker.host": "127.0.0.1",
        "broker.port": "0",
        "monitoring.prometheus_port": "0",
        "persistence.data_dir": str(folder / "data"),
    }
    overrides = [f"--set={path}={value}" for path, value in settings.items()]
    log = (folder / "log").open("wb")
    node = subprocess.Popen(
        [sys.executable, "-m", "cluster.node", *overrides, "--ready-file", str(ready)],
        cwd=ROOT,
        stdout=log,
        stderr=log,
    )
    try:
        wait_for(lambda: ready.exists() or node.poll() is not None, 40)
        assert node.poll() is None, (folder / "log").read_text()
        yield "taskq://" + json.loads(ready.read_text())["broker"]
    finally:
        node.terminate()
        node.wait(20)
        log.close()
