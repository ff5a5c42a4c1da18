"""A real node as a process of its own: started, killed, stopped, on one folder and port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.live.shim.control import ShimmedDisk

START_SECS = 30.0
STOP_SECS = 20.0
# How often to look for the ready file.
LOOK_SECS = 0.005


class NodeDied(Exception):
    """The process ended while it was to serve; the message holds the end of its log."""


class LiveNode:
    """`python -m cluster.node` on `home`/data and a fixed port of `host`, an address of this
    machine.

    `settings`: `{"group.key": value}`; folder and ports are added. `module` may be one that runs
    the node in another way. Its log goes to `home`/node.log. Not running until `spawn`. `pid` and
    `spawned_at` are those of the running, or last, process. `prefix`: words before the command,
    which end in running it in the same process. `settings`, `environment`: of the next process;
    nemeses set them between two starts. `config`: a file with more settings. `disk`: after `equip`,
    what stands in front of its folder from the next start on.
    """

    def __init__(
        self,
        home: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        module: str = "cluster.node",
        prefix: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.environment: dict[str, str] = {}
        self.disk: ShimmedDisk | None = None
        self.home = home
        self.folder = home / "data"
        self.log = home / "node.log"
        self.port = port or free_port()
        self.spawned_at = 0.0
        self._module = module
        self._prefix = prefix
        self._ready = home / "ready.json"
        self._process: subprocess.Popen[bytes] | None = None
        self.config: Path | None = None
        self.settings = {
            "broker.host": host,
            "broker.port": self.port,
            "monitoring.prometheus_port": 0,
            "persistence.data_dir": self.folder,
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"taskq://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None, "not spawned"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal, None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def equip(self, seed: int = 1) -> ShimmedDisk:
        """Puts a disk that can fail in front of its folder. Raises NoCompiler, OSError."""
        assert not self.running, "it is put there before a process starts"
        self.disk = ShimmedDisk(self.folder, self.home / "disk", seed)
        return self.disk

    def _variables(self) -> dict[str, str]:
        """Of the next process. Several libraries may be put in front of libc."""
        sources = [self.environment, self.disk.environment if self.disk is not None else {}]
        found = {**os.environ, **sources[0], **sources[1]}
        libraries = [one["LD_PRELOAD"] for one in (os.environ, *sources) if one.get("LD_PRELOAD")]
        return {**found, "LD_PRELOAD": ":".join(libraries)} if libraries else found

    def spawn(self) -> None:
        """Starts the process and does not wait."""
        assert not self.running, "already running"
        self._ready.unlink(missing_ok=True)
        command = [*self._prefix, sys.executable, "-m", self._module]
        command += ["--ready-file", str(self._ready)]
        if self.config is not None:
            command += ["--config", str(self.config)]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        self.home.mkdir(parents=True, exist_ok=True)
        self.spawned_at = time.monotonic()
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for us, and we stop the node.
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=self._variables(),
                start_new_session=True,
            )

    def is_serving(self) -> bool:
        """Whether the running process has said that it serves. Raises NodeDied."""
        if not self.running:
            raise NodeDied(f"exit code {self.returncode}: {self.log_tail()}")
        return self._ready.exists()

    async def serving(self) -> float:
        """Waits until it serves; seconds since `spawn`. Raises NodeDied."""
        while not self.is_serving():
            if time.monotonic() - self.spawned_at > START_SECS:
                raise NodeDied(f"not serving after {START_SECS:g} s: {self.log_tail()}")
            await asyncio.sleep(LOOK_SECS)
        return time.monotonic() - self.spawned_at

    def addresses(self) -> dict[str, str]:
        """Where the serving process listens: "broker" and "monitoring", "host:port" each."""
        found: dict[str, str] = json.loads(self._ready.read_text())
        return found

    def has_served(self) -> bool:
        """Whether the last process said that it serves; it may be gone since."""
        return self._ready.exists()

    def has_folder(self) -> bool:
        """Whether the running process holds the folder's lock: it reads the disk or serves."""
        try:
            return (self.folder / "lock").read_text().strip() == str(self.pid)
        except (FileNotFoundError, ValueError):
            return False

    def kill_soon(self) -> None:
        """SIGKILL, and does not wait."""
        os.kill(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL, and waits for the end of the process."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: as a machine that hangs; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM, and does not wait."""
        os.kill(self.pid, signal.SIGTERM)

    def terminate(self) -> float:
        """SIGTERM, and waits for the end; how many seconds it took. Kills after 20 s."""
        started = time.monotonic()
        self.ask_to_stop()
        return self.wait(STOP_SECS) - started

    def wait(self, timeout_secs: float) -> float:
        """Waits for the end; the time then. Raises subprocess.TimeoutExpired after a SIGKILL."""
        assert self._process is not None
        try:
            self._process.wait(timeout_secs)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return time.monotonic()

    def log_lines(self) -> list[dict[str, Any]]:
        """The node's log so far; lines that are no JSON (a traceback) under `raw`."""
        lines = []
        for line in self.log.read_text(errors="replace").splitlines() if self.log.exists() else []:
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"raw": line})
        return lines

    def log_tail(self, size: int = 2000) -> str:
        """The end of the node's log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def __enter__(self) -> LiveNode:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
