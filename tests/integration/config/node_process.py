"""`tq-broker` as an operator starts it: a process of its own, waited for and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.config.live_node import LOCAL, PATIENCE_SECS, POLL_SECS

ROOT = Path(__file__).parents[3]
TQ_BROKER = [sys.executable, "-P", "-m", "cluster.node"]


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without what would configure the node, and with `given`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TASKQ")}
    return {**ours, "PYTHONPATH": str(ROOT), **(given or {})}


def options(given: Mapping[str, Any]) -> list[str]:
    """Settings by path as arguments."""
    return [f"--set={path}={value}" for path, value in given.items()]


def outcome(
    *arguments: str, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> tuple[int, str]:
    """Runs `tq-broker` to its end: the exit code, and what it said. Never a traceback."""
    done = subprocess.run(
        [*TQ_BROKER, *arguments],
        env=environment(env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECS,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return done.returncode, said


class NodeProcess:
    """A node that serves. `served` is what its ready file says."""

    def __init__(self, process: subprocess.Popen[str], served: dict[str, Any], log: Path) -> None:
        self.process = process
        self.served = served
        self._log = log

    def log(self) -> list[str]:
        """The lines it has logged so far."""
        return self._log.read_text("utf-8").splitlines()

    def end(self, *signals: signal.Signals) -> int:
        """Sends the signals and waits for its end; the exit code."""
        for number in signals:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECS)


@contextmanager
def serving(
    folder: Path,
    given: Mapping[str, Any] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    command: Sequence[str] = TQ_BROKER,
) -> Iterator[NodeProcess]:
    """A node with its data and its log below `folder`; killed where the test did not end it."""
    ready, log = folder / "ready.json", folder / "node.log"
    settings = {**LOCAL, "persistence.data_dir": folder / "data", **(given or {})}
    arguments = [*command, *options(settings), "--ready-file", str(ready)]
    with log.open("w") as stream:
        process = subprocess.Popen(
            arguments,
            env=environment(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=stream,
            text=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECS
        while not ready.exists():
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(POLL_SECS)
        yield NodeProcess(process, json.loads(ready.read_text("utf-8")), log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        ready.unlink(missing_ok=True)
