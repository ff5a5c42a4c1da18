"""What a snapshot costs both sides: MB/s, memory, and how long a loop was held up.

    python -m bench.snapshot_costs [--count 1000000] [--size 100] [--load] [--loop asyncio|uvloop]

Two processes over real connections, with LevelDB on the disk of the folder for temporary files. The
follower starts empty. `paused`: the longest time that a timer of 1 ms came late; `busy`: the same
without the time in which the thread waited for a core, which is the machine's. `p50` and `max`: of
a small message to the follower and back on the same connections, every 10 ms. With --load the
leader's loop works all the time, in turns of 1 ms; `load` is how much of that work was done beside
the transfer, as a share of what was done before it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.peers_costs import HOST, free_port, runner, trust
from cluster.replication.peers.network import PeerNetwork
from cluster.replication.snapshots.exchange import SnapshotExchange
from cluster.replication.snapshots.messages import Why, decode
from cluster.replication.snapshots.receiver import SnapshotReceiver
from cluster.replication.snapshots.sender import SnapshotSender
from cluster.storage.directory import DataDirectory

TERM, INDEX = 5, 1000
SWITCH_INTERVAL_SECS = 0.0005  # as a node has it
KEY_SIZE = 24
FILL_COUNT = 20_000
TURN_SECS = 0.001
BEAT_SECS = 0.01
PROBE_SECS = 0.001
BEFORE_SECS = 5.0  # what the transfer is compared with
SNAPSHOT, BEAT, REPORT = b"s", b"b", b"r"


def anonymous_kib() -> int:
    """`RssAnon` of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise OSError("no RssAnon: this needs Linux")


def queued_secs() -> float:
    """How long this thread ever waited for a core while it could have run."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def fill(directory: DataDirectory, count: int, size: int) -> None:
    """A state of `count` pairs, written as a node writes."""
    stores = directory.open_member_stores(listed=True)
    value = bytes(range(256)) * (size // 256 + 2)  # long enough from each of 256 places
    for start in range(0, count, FILL_COUNT):
        stop = min(start + FILL_COUNT, count)
        pairs = {b"%024d" % n: value[n % 256 :][:size] for n in range(start, stop)}
        stores.state.write(pairs, INDEX, (TERM, TERM), 0)
    stores.log.close()
    stores.state.close()


class Probe:
    """Looks at this process: memory, and by how much its loop is late."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.reset()
        self._due = time.perf_counter()
        self._queued = queued_secs()
        self._count = 0
        self._tick()

    def reset(self) -> None:
        """What is now is the measure of what follows."""
        self.paused = self.busy = 0.0
        self.idle = self.peak = anonymous_kib()

    def _tick(self) -> None:
        # uvloop's own clock counts whole milliseconds.
        late, queued = time.perf_counter() - self._due, queued_secs()
        self.paused = max(self.paused, late)
        self.busy = max(self.busy, late - (queued - self._queued))
        self._queued = queued
        self._count += 1
        if self._count % 20 == 0:
            self.peak = max(self.peak, anonymous_kib())
        self._due = time.perf_counter() + PROBE_SECS
        self._loop.call_later(PROBE_SECS, self._tick)

    def figures(self) -> dict[str, float]:
        """Since the last reset: ms and MiB."""
        return {
            "paused_ms": self.paused * 1000,
            "busy_ms": self.busy * 1000,
            "idle_mib": self.idle / 1024,
            "grown_mib": (self.peak - self.idle) / 1024,
        }


def failed(error: BaseException) -> None:
    raise error


async def follow(port: int, home: int, path: Path) -> None:
    """The follower, until its folder holds the state and it has told its figures."""
    directory = DataDirectory.open(path, "b")
    stores = directory.open_member_stores(listed=True)
    done = asyncio.Event()
    timings: dict[str, float] = {}

    def install(index: int) -> None:
        nonlocal stores
        probe_figures.update(probe.figures())
        start = time.perf_counter()
        stores.log.close()
        stores.state.close()
        stores = directory.open_member_stores(listed=True)
        assert stores.state.index == index
        timings["open_secs"] = time.perf_counter() - start
        receiver.installed()

    def hear(peer: str, message: bytes) -> None:
        if message[:1] == BEAT:
            network.send(peer, message)
        elif message[:1] == REPORT:
            network.send(peer, REPORT + json.dumps(probe_figures | timings).encode())
            asyncio.get_running_loop().call_later(0.2, done.set)
        else:
            exchange.receive(peer, message[1:], TERM)

    def send(peer: str, message: bytes) -> bool:
        return network.send(peer, SNAPSHOT + message)

    probe_figures: dict[str, float] = {}
    network = PeerNetwork("b", "bench", "disk-b", trust(), hear)
    executor = ThreadPoolExecutor(1)
    receiver = SnapshotReceiver(
        send,
        directory.begin_state,
        executor,
        lambda: stores.state.index,
        on_ready=install,
        on_life=lambda: None,
        on_failure=failed,
    )
    exchange = SnapshotExchange(sender_of(send, failed, executor), receiver)
    await network.start(HOST, port)
    network.set_peers({"a": f"{HOST}:{home}"})
    probe = Probe()
    await asyncio.sleep(0.5)
    probe.reset()
    await done.wait()
    await network.stop()


def sender_of(
    send: Callable[[str, bytes], bool], export: Any, executor: ThreadPoolExecutor
) -> SnapshotSender:
    """A sender that must not be asked to give up."""

    def ended(peer_id: str, why: Why, applied: int) -> None:
        raise AssertionError(f"{peer_id}: {why.name}")

    return SnapshotSender(
        send,
        export,
        executor,
        on_installed=lambda peer, index: None,
        on_ended=ended,
        on_failure=failed,
    )


class Leader:
    """The measuring side."""

    def __init__(self, directory: DataDirectory) -> None:
        self.stores = directory.open_member_stores(listed=True)
        self.installed = asyncio.Event()
        self.report: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()
        self.executor = ThreadPoolExecutor(1)
        self.beats: list[float] = []
        self.turns = 0
        self.last_sent = 0.0
        self.network = PeerNetwork("a", "bench", "disk-a", trust(), self.hear)
        self.sender = SnapshotSender(
            self.send,
            self.stores.state.export,
            self.executor,
            on_installed=lambda peer, index: self.installed.set(),
            on_ended=lambda peer, why, applied: failed(AssertionError(why.name)),
            on_failure=failed,
        )

    def send(self, peer: str, message: bytes) -> bool:
        self.last_sent = time.perf_counter()
        return self.network.send(peer, SNAPSHOT + message)

    def hear(self, peer: str, message: bytes) -> None:
        if message[:1] == BEAT:
            self.beats.append(time.perf_counter() - float(message[1:]))
        elif message[:1] == REPORT:
            self.report.set_result(json.loads(message[1:]))
        else:
            self.sender.receive(peer, decode(message[1:]))

    async def beat(self) -> None:
        while True:
            self.network.send("b", BEAT + str(time.perf_counter()).encode())
            self.sender.wake(asyncio.get_running_loop().time())
            await asyncio.sleep(BEAT_SECS)

    async def work(self) -> None:
        """Turns of about 1 ms of plain Python each."""
        while True:
            end = time.thread_time() + TURN_SECS
            while time.thread_time() < end:
                sum(range(200))
            self.turns += 1
            await asyncio.sleep(0)

    def rhythm(self) -> dict[str, float]:
        """How long beats took, there and back."""
        beats = sorted(self.beats)
        return {"p50_ms": beats[len(beats) // 2] * 1000, "max_ms": beats[-1] * 1000}

    async def run(self, load: bool, size: int) -> dict[str, float]:
        """The figures of one transfer."""
        while not (self.network.connected() and self.network.heard_from()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        tasks = [asyncio.create_task(self.beat())]
        if load:
            tasks.append(asyncio.create_task(self.work()))
        probe = Probe()
        await asyncio.sleep(1)
        probe.reset()
        self.turns, self.beats = 0, []
        await asyncio.sleep(BEFORE_SECS)
        turns, before = self.turns / BEFORE_SECS, probe.figures() | self.rhythm()
        probe.reset()
        self.turns, self.beats = 0, []
        start, cpu = time.perf_counter(), time.process_time()
        self.sender.begin("b", TERM)
        await self.installed.wait()
        whole = time.perf_counter() - start
        sent = self.last_sent - start
        row = probe.figures()
        row |= self.rhythm()
        row |= {f"{key}_before": before[key] for key in ("paused_ms", "p50_ms", "max_ms")}
        row["load"] = self.turns / whole / turns if turns else 0.0
        row["sent_secs"], row["all_secs"] = sent, whole
        row["cpu_secs"] = time.process_time() - cpu
        row["MB/s"] = size / sent / 1e6
        for task in tasks:
            task.cancel()
        return row


async def lead(path: Path, options: argparse.Namespace) -> None:
    """Starts the follower, measures, prints."""
    directory = DataDirectory.open(path / "a", "a")
    leader = Leader(directory)
    home, port = await leader.network.start(HOST, 0), free_port()
    command = [sys.executable, "-m", "bench.snapshot_costs", "--loop", options.loop, "--follow"]
    child = subprocess.Popen([*command, str(port), str(home), str(path / "b")])  # noqa: ASYNC220
    try:
        leader.network.set_peers({"b": f"{HOST}:{port}"})
        row = await leader.run(options.load, options.count * (KEY_SIZE + options.size))
        leader.network.send("b", REPORT)
        follower = await leader.report
        await leader.network.stop()
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(10)
        child.kill()
    for name, figures in (("leader", row), ("follower", follower)):
        print(name, {key: round(value, 2) for key, value in figures.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    parser.add_argument("--follow", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_SECS)
    if options.follow:
        port, home, path = options.follow
        with runner(options.loop) as run:
            run.run(follow(int(port), int(home), Path(path)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with DataDirectory.open(path / "a", "a") as directory:
            fill(directory, options.count, options.size)
        with runner(options.loop) as run:
            run.run(lead(path, options))


if __name__ == "__main__":
    main()
