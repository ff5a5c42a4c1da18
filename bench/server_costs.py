"""What a request costs the server: CPU per request, and where it goes.

    python -m bench.server_costs [--profile] [--count N]

The server runs here, over a state machine in memory (no disk, no Raft), the client in a process of
its own with real sockets and a window of unanswered requests. CPU is that of the server's process.
Queries and results name a task that does not exist: they cost the way in and out, little else.
Submits and claims (of 10) include the machine's work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import pstats
import socket
import subprocess
import sys
import time
from typing import Any

from cluster.server.access import Access
from cluster.server.tcp import BrokerServer
from taskq import commands
from taskq.client.identifier import new_task_id
from taskq.protocol.connection import ClientConnection
from taskq.protocol.frame import FrameReader
from tests.unit.server.memory_replica import MemoryReplica

WINDOW = 256
# In an order in which each kind finds what the one before left: submits, claims of 10, results.
KINDS = ("ping", "query", "submit", "claim", "result")
WORKER = b"w" * 16


def requests(kind: str, count: int, connection: ClientConnection) -> list[bytes]:
    """The frames of `count` requests."""
    made: list[Any]
    if kind == "result":
        made = [commands.TaskResult(bytes(16), token, True, b"r" * 50) for token in range(count)]
    elif kind == "claim":
        made = [commands.ClaimTask(WORKER, n + 1, n + 1, ["q"], 10, 1_000) for n in range(count)]
    elif kind == "submit":
        made = [commands.SubmitTask(new_task_id(), "q", "f", b"x" * 100) for _ in range(count)]
    else:
        one = commands.Ping() if kind == "ping" else commands.QueryStatus(bytes(16))
        made = [one] * count
    return [connection.request(command)[1] for command in made]


def client(port: int, kind: str, count: int) -> None:
    """Sends `count` requests with at most `WINDOW` unanswered."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = ClientConnection()
        stream.sendall(connection.greet("bench", None))
        while not connection.opened:
            connection.receive(stream.recv(65_536))
        frames = requests(kind, count, connection)
        reader = FrameReader()
        sent = answered = 0
        start = time.perf_counter()
        while answered < count:
            if sent < count and sent - answered <= WINDOW // 2:
                stop = min(count, answered + WINDOW)
                stream.sendall(b"".join(frames[sent:stop]))
                sent = stop
            answered += len(reader.feed(stream.recv(262_144)))
        print(count / (time.perf_counter() - start))


async def measure(kinds: list[str], count: int) -> list[dict[str, object]]:
    """One row for each kind of request."""
    loop = asyncio.get_running_loop()
    replica = MemoryReplica(loop)
    replica.keep_entries = False
    server = BrokerServer(replica, Access(enabled=False))
    port = await server.start("127.0.0.1", 0)
    rows = []
    for kind in kinds:
        number = count // 10 if kind == "claim" else count
        arguments = ["--client", str(port), kind, str(number)]
        index, cpu = replica.applied_index, time.process_time()
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.server_costs", *arguments), stdout=subprocess.PIPE
        )
        out, _ = await child.communicate()
        cpu = time.process_time() - cpu
        rows.append(
            {
                "request": kind,
                "per_second": round(float(out)),
                "cpu_us": round(cpu / number * 1e6, 1),
                "per_cpu_second": round(number / cpu),
                "requests_per_entry": round(number / max(replica.applied_index - index, 1)),
            }
        )
    await server.stop()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", nargs=3)
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--profile", action="store_true", help="where the time goes (slower)")
    given = parser.parse_args()
    if given.client:
        client(int(given.client[0]), given.client[1], int(given.client[2]))
        return
    factory: Any = None
    with contextlib.suppress(ImportError):
        from uvloop import new_event_loop as factory
    profile = cProfile.Profile()
    with asyncio.Runner(loop_factory=factory) as runner:
        if given.profile:
            profile.enable()
        rows = runner.run(measure(given.kinds.split(","), given.count))
        profile.disable()
    for row in rows:
        print("  ".join(f"{name} {value!s:>8}" for name, value in row.items()))
    if given.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    print(json.dumps({"server_costs": rows}))


if __name__ == "__main__":
    main()
