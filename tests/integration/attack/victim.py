"""A real node under attack, and how it is seen from outside: memory, descriptors, log, account."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from chaos.live.node import LiveNode
from taskq import commands
from taskq.protocol.connection import ClientConnection

# Far beyond what any answer here takes.
PATIENCE_SECS = 20.0
POLL_SECS = 0.02
# Until all connections of clients that left are closed: some sweeps.
GONE_SECS = 8.0


class Stranger:
    """One connection, blocking: `send` pipelines, `answer` waits for one answer."""

    def __init__(self, port: int, *, greet: bool = True, window: int = 0) -> None:
        self.socket = socket.socket()
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.settimeout(PATIENCE_SECS)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = ClientConnection()
        self._answers: dict[int, Any] = {}
        if greet:
            self.socket.sendall(self.connection.greet("attack", None))
            self.answer(1)

    def send(self, *asked: Any) -> list[int]:
        pairs = [self.connection.request(command) for command in asked]
        self.socket.sendall(b"".join(frame for _, frame in pairs))
        return [request_id for request_id, _ in pairs]

    def answer(self, request_id: int) -> Any:
        while request_id not in self._answers:
            data = self.socket.recv(262_144)
            if not data:
                raise ConnectionError("the node closed the connection")
            for event in self.connection.receive(data):
                self._answers[getattr(event, "request_id", 0)] = getattr(event, "value", None)
        return self._answers.pop(request_id)

    def ask(self, command: Any) -> Any:
        return self.answer(self.send(command)[0])

    def close(self) -> None:
        self.socket.close()


class Victim:
    """A running node: `port`, and what is to hold after every attack (`check`)."""

    def __init__(self, node: LiveNode) -> None:
        self.node = node
        self.port = node.port
        self.process = psutil.Process(node.pid)
        self.healthy = Stranger(self.port)

    def memory(self) -> int:
        """Anonymous resident memory in bytes."""
        for line in Path(f"/proc/{self.node.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon")

    def peak(self, secs: float) -> int:
        """The most memory seen for so long, while a healthy client goes on asking."""
        most, end = 0, time.monotonic() + secs
        while time.monotonic() < end:
            self.healthy.ask(commands.Ping())
            most = max(most, self.memory())
            time.sleep(POLL_SECS)
        return most

    def strangers(self, count: int, **how: Any) -> list[Stranger]:
        return [Stranger(self.port, **how) for _ in range(count)]

    def check(self, strangers: Sequence[Stranger] = ()) -> None:
        """Serves as before, soon after the strangers have left."""
        for stranger in strangers:
            stranger.close()
        end = time.monotonic() + GONE_SECS
        while (left := self._connections()) > 1 and time.monotonic() < end:
            time.sleep(POLL_SECS)
        assert left == 1, "connections of clients that left are still open"
        assert min(self._life_cycle_secs() for _ in range(5)) < 0.1
        stats = self.healthy.ask(commands.GetStats())
        assert stats.totals["submitted"] == sum(stats.states.values()) + stats.totals["removed"]
        loud = [line for line in self.node.log_lines() if line.get("level") in LOUD]
        assert not loud, loud
        assert "Traceback" not in self.node.log_tail(1_000_000)

    def _connections(self) -> int:
        connections = self.process.net_connections("tcp")
        return sum(each.status != psutil.CONN_LISTEN for each in connections)

    def _life_cycle_secs(self) -> float:
        start = time.monotonic()
        task_id = time.monotonic_ns().to_bytes(16, "big")
        self.healthy.ask(commands.SubmitTask(task_id, "healthy"))
        worker = task_id[::-1]
        (task,) = self.healthy.ask(commands.ClaimTask(worker, 1, 1, ["healthy"])).tasks
        self.healthy.ask(commands.Ack(task.task_id, task.token))
        return time.monotonic() - start


LOUD = ("error", "critical")


@contextmanager
def under_attack(home: Path, **settings: Any) -> Iterator[Victim]:
    """A node as a process of its own; `settings` with `__` for the dot."""
    node = LiveNode(home, {key.replace("__", "."): value for key, value in settings.items()})
    with node:
        node.spawn()
        end = time.monotonic() + PATIENCE_SECS
        while not node.is_serving():
            assert time.monotonic() < end, node.log_tail()
            time.sleep(POLL_SECS)
        victim = Victim(node)
        yield victim
        victim.healthy.close()
        node.terminate()
        assert node.returncode == 0, node.log_tail()
