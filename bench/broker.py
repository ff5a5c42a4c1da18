"""Broker processes to be measured: started on loopback with data folders of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from bench.cgroup import MemoryGroup
from taskq import Client

START_SECS = 20.0
RESTART_SECS = 120.0


class Broker:
    """One running `python -m cluster.node`. `settings`: `{"group.key": value}` that differ from the
    defaults; `memory`: the group that it runs in. `address` is where clients connect, `folder` its
    data."""

    def __init__(
        self, home: Path, settings: Mapping[str, Any], memory: MemoryGroup | None = None
    ) -> None:
        self.folder = home / "data"
        home.mkdir(exist_ok=True)
        self._ready = home / "ready.json"
        self.address = ""
        given = {
            "broker.host": "127.0.0.1",
            "broker.port": free_port(),
            "monitoring.prometheus_port": free_port(),
            "monitoring.log_level": "warning",
            "persistence.data_dir": self.folder,
            **settings,
        }
        self._command = [sys.executable, "-m", "cluster.node", "--ready-file", str(self._ready)]
        for key, value in given.items():
            self._command += ["--set", f"{key}={value}"]
        self._memory = memory
        if memory is not None:
            self._command = memory.command(self._command)
        self.start()

    def start(self) -> None:
        """The process; again after its end."""
        self._ready.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command)

    def wait(self, secs: float = START_SECS) -> None:
        """Until it serves. Raises RuntimeError."""
        deadline = time.monotonic() + secs
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the broker did not start; its log is above")
            time.sleep(0.02)
        self.address = json.loads(self._ready.read_text())["broker"]

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

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it, cleanly if it can."""
        self.ask_to_stop()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        if self._memory is not None:
            self._memory.remove()


class Cluster:
    """`count` running brokers, one or a group; a context manager. `url` names all of them.
    `memory_mib`: the hard limit of each, 0 for none (`MemoryGroup`)."""

    def __init__(self, count: int, settings: Mapping[str, Any], memory_mib: int = 0) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="taskq-bench-"))
        ports = {f"node{number}": free_port() for number in range(1, count + 1)}
        peers = ",".join(f"{name}=127.0.0.1:{port}" for name, port in ports.items())
        self.brokers: dict[str, Broker] = {}
        for name, port in ports.items():
            group = {
                "raft.enabled": True,
                "raft.node_id": name,
                "raft.port": port,
                "raft.peers": peers,
            }
            given = {**(group if count > 1 else {}), **settings}
            memory = MemoryGroup(f"{os.getpid()}-{name}", memory_mib) if memory_mib else None
            self.brokers[name] = Broker(self._home / name, given, memory)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        addresses = ",".join(broker.address for broker in self.brokers.values())
        self.url = f"taskq://{addresses}"
        with Client(self.url, timeout=START_SECS) as client:
            self.leader = client.stats().node_id  # answered by who leads

    def _wait(self, secs: float = START_SECS) -> None:
        for broker in self.brokers.values():
            broker.wait(secs)

    def kill(self) -> None:
        """SIGKILL for all."""
        for broker in self.brokers.values():
            broker.kill()

    def restart(self) -> None:
        """Starts all again, with what their disks hold; until they answer."""
        for broker in self.brokers.values():
            broker.start()
        self._wait(RESTART_SECS)

    @property
    def followers(self) -> list[Broker]:
        """Those that do not lead."""
        return [broker for name, broker in self.brokers.items() if name != self.leader]

    def cpu_secs(self) -> float:
        """Processor time that all brokers have used."""
        return sum(broker.cpu_secs() for broker in self.brokers.values())

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers.values():
            broker.ask_to_stop()
        for broker in self.brokers.values():
            broker.stop()
        shutil.rmtree(self._home, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
