"""An example as a reader tries it: its folder copied, the commands of its README in processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
# What a reader's shell finds on its path. `-P`: a script does not put the working folder in front.
PROGRAMS = {
    "taskq": [sys.executable, "-P", "-m", "taskq.cli"],
    "python": [sys.executable],
    "uvicorn": [sys.executable, "-m", "uvicorn"],
}
URL = re.compile(r"export TASKQ_URL=(\S+)")


def until(condition: Callable[[], object], within_secs: float = 30.0, what: str = "") -> None:
    """Waits until a condition holds; fails the test where it does not in time."""
    deadline = time.monotonic() + within_secs
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in time: {what}"
        time.sleep(0.01)


class Started:
    """A program that runs; what it prints goes to a file."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._log = folder.parent / f"{time.monotonic_ns()}.log"
        with self._log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self._log.read_text("utf-8")

    def printed(self, text: str) -> None:
        """Waits until it has printed a text; fails the test where it ends without."""
        until(lambda: text in self.log or self.process.poll() is not None, what=text)
        assert text in self.log, self.log

    def stop(self, code: int = 0) -> None:
        """SIGTERM; fails the test unless it ends with `code`."""
        self.process.terminate()
        assert self.process.wait(30) == code, self.log

    def nodes(self) -> list[psutil.Process]:
        """The processes that it has started: of `taskq up`, the nodes."""
        return psutil.Process(self.process.pid).children()

    def end(self) -> None:
        """Ends what a failed test has left: at first politely, so that children end, too."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
                try:
                    self.process.wait(15)
                except subprocess.TimeoutExpired:
                    continue


class Example:
    """A copy of an example's folder. `url` is that of the cluster, once one was started."""

    def __init__(self, name: str, home: Path) -> None:
        self.folder = home / name
        shutil.copytree(EXAMPLES / name, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        readme = (self.folder / "README.md").read_text("utf-8")
        self._commands = re.findall(r"^\$ (.*)$", readme, re.MULTILINE)
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TASKQ")
        }
        self._started: list[Started] = []
        self._ups: list[Started] = []
        self.url = ""

    def point_to(self, url: str) -> None:
        """Sets TASKQ_URL for what is started from now on."""
        self.url = self._environment["TASKQ_URL"] = url

    def command(self, start: str) -> str:
        """The command of the README that begins so."""
        (found,) = [line for line in self._commands if line.startswith(start)]
        return found

    def start(self, command: str) -> Started:
        """Starts a command in the folder."""
        made = Started(_words(command), self.folder, self._environment)
        self._started.append(made)
        return made

    def run(self, command: str, code: int = 0) -> tuple[str, str]:
        """Runs a command in the folder to its end: what it wrote to stdout, and to stderr."""
        done = subprocess.run(
            _words(command),
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def up(self, options: str = "--port 0") -> Started:
        """`taskq up` as the README has it, on free ports; what is started after it finds it."""
        up = self.start(f"{self.command('taskq up')} {options}")
        self._ups.append(up)
        up.printed("export TASKQ_URL=")
        found = URL.search(up.log)
        assert found is not None
        self.point_to(found[1])
        return up

    def close(self) -> None:
        """Ends what still runs; workers before their cluster, from which they take their leave."""
        for started in sorted(self._started, key=self._ups.__contains__):
            started.end()


def _words(command: str) -> list[str]:
    program, *words = command.split()
    return [*PROGRAMS[program], *words]


@pytest.fixture(scope="module")
def example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    """A copy of the example that the test's module is named after; at its end nothing of it runs
    any more."""
    name = request.path.stem.removeprefix("test_")
    made = Example(name, tmp_path_factory.mktemp(name))
    try:
        yield made
    finally:
        made.close()
