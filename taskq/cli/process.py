"""Child processes of `taskq up` and `taskq demo`: started, waited for, and ended.

Each child leads a session of its own, so that Ctrl-C at the terminal reaches only the command in
front, which then ends its children one by one; should that command be killed, they end, too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from taskq.cli.command import Failure
from taskq.cli.quantity import list_text

# The node checks its folder before it serves: large ones take a while.
READY_TIMEOUT_SECS = 120.0
# How long a child may take to end by itself.
STOP_TIMEOUT_SECS = 15.0
POLL_SECS = 0.02
LOCAL_HOST = "127.0.0.1"
INSTALL_BROKER = "pip install 'taskq-cluster[broker]'"
# Modules without which no node starts, by the names of their distributions in the extra [broker].
BROKER_MODULES = {
    "plyvel": "plyvel",
    "pysyncobj": "pysyncobj",
    "pydantic": "pydantic",
    "pyyaml": "yaml",
    "structlog": "structlog",
    "cryptography": "cryptography",
    "google-crc32c": "google_crc32c",
    "prometheus-client": "prometheus_client",
}

_BOOT = (
    "import sys, json; path, entry, parent, arguments, scratch = json.loads(sys.argv.pop()); "
    "sys.path[:] = path; from taskq.cli import child; "
    "getattr(child, entry)(parent, arguments, scratch)"
)


def require_broker(what: str) -> None:
    """Raises Failure saying what to install where the broker's packages are missing."""
    missing = [
        name for name, module in BROKER_MODULES.items() if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise Failure(
            f"`taskq {what}` needs the broker, and {list_text(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed: {INSTALL_BROKER}"
        )


class Child:
    """A child process. `log` gets its standard error; None: it goes to ours. `environment` is
    added to ours."""

    def __init__(
        self,
        entry: str,
        arguments: Sequence[str],
        log: Path | None,
        scratch: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        boot = [sys.path, entry, os.getpid(), list(arguments), str(scratch or "")]
        with contextlib.ExitStack() as open_files:
            stream: IO[bytes] | None = None
            if log is not None:
                stream = open_files.enter_context(log.open("ab"))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, json.dumps(boot)],
                stdin=subprocess.DEVNULL,
                stdout=stream or sys.stderr,
                stderr=stream,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Blocks until it has ended."""
        return self._process.wait()

    def terminate(self) -> None:
        """Asks it to end."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self._process.kill()

    def stop(self, timeout_secs: float = STOP_TIMEOUT_SECS) -> None:
        """Asks it to end, and kills it after the time-out."""
        self.terminate()
        try:
            self._process.wait(timeout_secs)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self, count: int = 15) -> str:
        """The end of its log."""
        if self.log is None or not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join("    " + line for line in lines[-count:])


class Member(NamedTuple):
    """What a node of a local cluster is told. `peers`: "node1=127.0.0.1:7001,node2=..."."""

    node_id: str
    raft_port: int
    peers: str
    secret: str

    def settings(self) -> dict[str, Any]:
        """By path; not the secret, for everybody can read a command line."""
        return {
            "raft.enabled": "true",
            "raft.node_id": self.node_id,
            "raft.port": self.raft_port,
            "raft.peers": self.peers,
        }


class Broker(Child):
    """A node on this machine, alone or the `member` of a cluster. `url` is where clients find it,
    once `wait_ready` has returned.

    `port` 0 takes any free one. Raises Failure where it cannot be started.
    """

    def __init__(
        self,
        data: Path,
        scratch: Path,
        port: int,
        *,
        log: Path | None = None,
        log_level: str = "info",
        monitoring_port: int = 0,
        remove_scratch: bool = False,
        member: Member | None = None,
    ) -> None:
        self.name = "broker" if member is None else member.node_id
        self._ready = scratch / f"{self.name}.json"
        # One that a killed node left behind would say "ready" before this one is.
        self._ready.unlink(missing_ok=True)
        self.address = ""
        settings = {
            "broker.host": LOCAL_HOST,
            "broker.port": port,
            "monitoring.host": LOCAL_HOST,
            "monitoring.prometheus_port": monitoring_port,
            "monitoring.json_logging": "false",
            "monitoring.log_level": log_level,
            "persistence.data_dir": data.absolute(),
        }
        environment = {}
        if member is not None:
            settings |= member.settings()
            environment["TASKQ_RAFT__SECRET"] = member.secret
        arguments = [f"--set={path}={value}" for path, value in settings.items()]
        arguments += ["--ready-file", str(self._ready)]
        super().__init__("broker", arguments, log, scratch if remove_scratch else None, environment)

    def wait_ready(self) -> dict[str, Any]:
        """What it serves: {"broker": "host:port", "monitoring": ..., "pid": ...}."""
        who = "The broker" if self.name == "broker" else self.name
        deadline = time.monotonic() + READY_TIMEOUT_SECS
        while not self.is_ready():
            if self.status is not None:
                words = self.last_words()
                raise Failure(
                    f"{who} did not start (exit {self.status})" + (f":\n{words}" if words else ".")
                )
            if time.monotonic() > deadline:
                raise Failure(f"{who} was not ready within {READY_TIMEOUT_SECS:.0f} s.")
            time.sleep(POLL_SECS)
        served: dict[str, Any] = json.loads(self._ready.read_text())
        self.address = served["broker"]
        return served

    def is_ready(self) -> bool:
        """Whether it listens."""
        return self._ready.exists()

    @property
    def url(self) -> str:
        return f"taskq://{self.address}"


def is_free(port: int) -> bool:
    """Whether a server could listen on this port here."""
    with socket.socket() as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCAL_HOST, port))
        except OSError:
            return False
        return True
