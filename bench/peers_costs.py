"""What a message between nodes costs: rate, and CPU of the sender and of the receiver.

    python -m bench.peers_costs [--secs N] [--loop asyncio|uvloop]

The receiver is a process of its own. The sender keeps at most 8 MiB (or 64 messages) unanswered; an
empty message comes back for every eighth part of that, so that Raft's answers are not forgotten.
Sealing is part of every figure.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import time

from cluster.replication.peers.network import PeerNetwork
from cluster.replication.peers.trust import Trust, trust_secret

HOST = "127.0.0.1"
SIZES = (1 << 10, 64 << 10, 1 << 20)
WINDOW_SIZE = 8 << 20
WINDOW_COUNT_MIN = 64
# Messages handed over in one round of the loop, as by a driver that has some at once.
BURST = 32
ACK_PARTS = 8


def window(size: int) -> int:
    """Messages of that size that may be unanswered."""
    return max(WINDOW_SIZE // size, WINDOW_COUNT_MIN)


def trust() -> Trust:
    return trust_secret("a secret for measuring")


async def receive(port: int, home: int, size: int) -> None:
    """Counts messages and confirms them; an empty one asks for the CPU time so far."""
    every = window(size) // ACK_PARTS
    count = 0
    done = asyncio.Event()

    def take(peer: str, message: bytes) -> None:
        nonlocal count
        if not message:
            network.send(peer, b"cpu" + str(time.process_time()).encode())
            return
        if message == b"end":
            done.set()
            return
        count += 1
        if count % every == 0:
            network.send(peer, b"ack")

    network = PeerNetwork("b", "bench", "disk-b", trust(), take)
    await network.start(HOST, port)
    network.set_peers({"a": f"{HOST}:{home}"})
    await done.wait()
    await network.stop()


class Sender:
    """The measuring side."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.acked = 0
        self.receiver_cpu: asyncio.Future[float] | None = None
        self.moved = asyncio.Event()
        self.network = PeerNetwork("a", "bench", "disk-a", trust(), self.take)

    def take(self, _peer: str, message: bytes) -> None:
        if message == b"ack":
            self.acked += window(self.size) // ACK_PARTS
            self.moved.set()
        elif self.receiver_cpu is not None:
            self.receiver_cpu.set_result(float(message[3:]))

    async def ask_cpu(self) -> float:
        self.receiver_cpu = asyncio.get_running_loop().create_future()
        self.network.send("b", b"")
        return await self.receiver_cpu

    async def run(self, secs: float) -> dict[str, float]:
        """Sends for `secs`; the figures."""
        message = bytes(self.size)
        before, cpu, start = await self.ask_cpu(), time.process_time(), time.perf_counter()
        sent = 0
        while time.perf_counter() < start + secs:
            while sent - self.acked + BURST > window(self.size):
                self.moved.clear()
                await self.moved.wait()
            for _ in range(BURST):
                assert self.network.send("b", message)
            sent += BURST
            await asyncio.sleep(0)
        after = await self.ask_cpu()  # comes behind everything else
        elapsed = time.perf_counter() - start
        return {
            "rate": sent / elapsed,
            "MB/s": sent * self.size / elapsed / 1e6,
            "sender": (time.process_time() - cpu) / sent * 1e6,
            "receiver": (after - before) / sent * 1e6,
        }

    async def trip(self, count: int) -> float:
        """Microseconds of one message there and one back, one at a time."""
        start = time.perf_counter()
        for _ in range(count):
            await self.ask_cpu()
        return (time.perf_counter() - start) / count * 1e6


def free_port() -> int:
    with socket.create_server((HOST, 0)) as one:
        return int(one.getsockname()[1])


async def measure(size: int, secs: float, loop: str) -> dict[str, float]:
    """One row: a fresh receiver, a connection each way, the figures."""
    sender = Sender(size)
    home, port = await sender.network.start(HOST, 0), free_port()
    command = [sys.executable, "-m", "bench.peers_costs", "--loop", loop, "--receive"]
    child = subprocess.Popen([*command, str(port), str(home), str(size)])  # noqa: ASYNC220
    try:
        sender.network.set_peers({"b": f"{HOST}:{port}"})
        while not (sender.network.connected() and sender.network.heard_from()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        row = await sender.run(secs)
        row["trip"] = await sender.trip(500)
        sender.network.send("b", b"end")
        await sender.network.stop()
    finally:
        child.wait(10)
    return row


def runner(loop: str) -> asyncio.Runner:
    if loop == "uvloop":
        import uvloop

        return asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return asyncio.Runner()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secs", type=float, default=2.0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    parser.add_argument("--receive", nargs=3, type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.receive:
        with runner(chosen.loop) as run:
            run.run(receive(*chosen.receive))
        return
    print(f"{chosen.loop}: CPU per message in µs; one small message there and back in µs")
    print(f"{'bytes':>9} {'per s':>9} {'MB/s':>7} {'sender':>8} {'receiver':>9} {'trip':>6}")
    for size in SIZES:
        with runner(chosen.loop) as run:
            row = run.run(measure(size, chosen.secs, chosen.loop))
        print(
            f"{size:9} {row['rate']:9.0f} {row['MB/s']:7.0f} {row['sender']:8.1f}"
            f" {row['receiver']:9.1f} {row['trip']:6.0f}"
        )


if __name__ == "__main__":
    main()
