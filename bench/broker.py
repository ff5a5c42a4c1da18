"""A broker process to be measured: started on loopback with a data folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

START_SECS = 20.0


class Broker:
    """A running `python -m cluster.node`; a context manager. `settings`: `{"group.key": value}`
    that differ from the defaults. `url` is where clients connect, `folder` its data."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="taskq-bench-"))
        self.folder = self._home / "data"
        ready = self._home / "ready.json"
        given = {
            "broker.host": "127.0.0.1",
            "broker.port": _free_port(),
            "monitoring.prometheus_port": _free_port(),
            "monitoring.log_level": "warning",
            "persistence.data_dir": self.folder,
            **settings,
        }
        command = [sys.executable, "-m", "cluster.node", "--ready-file", str(ready)]
        for key, value in given.items():
            command += ["--set", f"{key}={value}"]
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + START_SECS
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError("the broker did not start; its log is above")
            time.sleep(0.02)
        self.url = f"taskq://{json.loads(ready.read_text())['broker']}"

    @property
    def pid(self) -> int:
        """Of the broker's process."""
        return self._process.pid

    def cpu_secs(self) -> float:
        """Processor time that the broker has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def rss_anon(self) -> int:
        """Anonymous resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
        return 0

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
