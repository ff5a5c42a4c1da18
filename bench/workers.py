"""`python -m bench.workers`: no-op tasks per second of a worker with two slots, ours and theirs.

Ours: `taskq worker` against a cluster of three nodes, synced to disk. Theirs (with `--theirs`, the
folder of an environment that has `celery[redis]`, `rq` and `dramatiq[redis]`, and with
`redis-server` on the path): the same against one Redis that keeps nothing on disk.

Every system gets the same number of tasks into its queue, then its worker is started; the rate is
over the time from the first tenth done to all done, so that starting does not count. Systems take
turns, one run each, so that they share whatever else the machine does. Processor time is that of
the worker with its children, and of the brokers, for each task.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from bench.broker import Cluster, free_port
from bench.record import append_workers, circumstances

PATIENCE_SECS = 180.0
LOOK_SECS = 0.02
ROOT = Path(__file__).parents[1]

OURS = """
import taskq
app = taskq.App(queue="noop")

@app.task(keep_result=False)
def noop(): pass

def fill(count):
    with app:
        for start in range(0, count, 1000):
            app.submit_many(noop.spec() for _ in range(min(1000, count - start)))
"""
CELERY = """
import os, celery
app = celery.Celery(broker=os.environ["REDIS"])
app.conf.task_ignore_result = True

@app.task(name="noop")
def noop(): pass

def fill(count):
    for _ in range(count): noop.delay()
"""
RQ = """
import os, redis, rq

def noop(): pass

def fill(count):
    queue = rq.Queue("noop", connection=redis.from_url(os.environ["REDIS"]))
    for start in range(0, count, 1000):
        queue.enqueue_many([rq.Queue.prepare_data(noop, result_ttl=0)
                            for _ in range(min(1000, count - start))])
"""
DRAMATIQ = """
import os, dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import default_middleware
dramatiq.set_broker(RedisBroker(url=os.environ["REDIS"], middleware=[
    one() for one in default_middleware if one.__name__ != "Prometheus"]))

@dramatiq.actor
def noop(): pass

def fill(count):
    for _ in range(count): noop.send()
"""
# How many tasks are not done yet: waiting, or taken and not acknowledged.
LEFT = {
    "celery": "return redis.call('LLEN','celery') + redis.call('HLEN','unacked')",
    "rq": "return redis.call('LLEN','rq:queue:noop') + redis.call('ZCARD','rq:wip:noop')"
    " + redis.call('LLEN', 'rq:queue:intermediate:noop')",
    "dramatiq": "local n = redis.call('LLEN','dramatiq:default') "
    "for _, k in ipairs(redis.call('KEYS','dramatiq:__acks__.*')) do "
    "n = n + redis.call('SCARD', k) end return n",
}


@dataclass(frozen=True)
class System:
    """One to be measured: the module with its task, its worker's command (after the interpreter),
    and how many tasks are left."""

    name: str
    source: str
    python: Path
    worker: list[str]


@dataclass(frozen=True)
class Measured:
    """One run: tasks per second, and microseconds of processor for each task."""

    rate: float
    worker_us: float
    broker_us: float


@click.command()
@click.option("--tasks", default=20_000, show_default=True, help="Tasks of each run of ours.")
@click.option("--runs", default=3, show_default=True)
@click.option("--concurrency", default=2, show_default=True)
@click.option("--executor", default="process", show_default=True, help="Of ours.")
@click.option("--theirs", type=click.Path(path_type=Path), help="Environment with the others.")
@click.option("--only", default="", help="Only systems whose name contains this.")
@click.option("--keep/--no-keep", default=True, help="Append to bench/workers.jsonl.")
def main(
    tasks: int,
    runs: int,
    concurrency: int,
    executor: str,
    theirs: Path | None,
    only: str,
    keep: bool,
) -> None:
    """Measure workers with no-op tasks, side by side."""
    home = Path(tempfile.mkdtemp(prefix="taskq-bench-workers-"))
    systems = [one for one in _systems(concurrency, executor, theirs) if only in one.name]
    found: dict[str, list[Measured]] = {system.name: [] for system in systems}
    try:
        for _ in range(runs):
            for system in systems:
                # Slower ones get fewer, or a session would take many minutes.
                count = tasks if system.name == "taskq" else tasks // 4
                serving = _cluster() if system.name == "taskq" else _redis(home)
                with serving as (environment, brokers, left_of):
                    run = _measure(home, system, count, environment, brokers, left_of)
                found[system.name].append(run)
                print(f"{system.name}: {run.rate:,.0f}/s", file=sys.stderr)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    rows = _show(found, {system.name: _version(system) for system in systems})
    session = {
        **circumstances(),
        "executor": executor,
        "workers": rows,
    }
    if keep:
        append_workers(session)
    print(json.dumps(session))


def _version(system: System) -> str:
    package = "taskq-cluster" if system.name == "taskq" else system.name
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([system.python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _systems(concurrency: int, executor: str, theirs: Path | None) -> list[System]:
    slots = str(concurrency)
    ours = ["-m", "taskq.cli", "worker", "work_taskq:app", f"--concurrency={slots}"]
    ours += [f"--executor={executor}", "--log-level=warning"]
    systems = [System("taskq", OURS, Path(sys.executable), ours)]
    if theirs is not None:
        python = theirs / "bin" / "python"
        celery = ["-m", "celery", "-A", "work_celery", "worker", "-c", slots, "-l", "ERROR"]
        # Without a fork for each task, which is its default and slower.
        rq = ["-m", "rq.cli", "worker-pool", "noop", "-n", slots, "-b", "-q"]
        rq += ["-w", "rq.worker.SimpleWorker"]
        dramatiq = ["-m", "dramatiq", "work_dramatiq", "-p", slots, "-t", "8"]
        systems += [
            System("celery", CELERY, python, celery),
            System("rq", RQ, python, rq),
            System("dramatiq", DRAMATIQ, python, dramatiq),
        ]
    return systems


Left = Callable[[str], int]
Serving = tuple[dict[str, str], list[int], Left]


@contextmanager
def _cluster() -> Iterator[Serving]:
    from taskq import Client

    with Cluster(3, {}) as cluster, Client(cluster.url) as client:
        pids = [broker.pid for broker in cluster.brokers.values()]

        def left(_: str) -> int:
            totals = client.stats().totals
            return totals["submitted"] - totals["completed"]

        yield {"TASKQ_URL": cluster.url, "PYTHONPATH": str(ROOT)}, pids, left


@contextmanager
def _redis(home: Path) -> Iterator[Serving]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL)

    def left(name: str) -> int:
        asked = ["redis-cli", "-p", str(port), "EVAL", LEFT[name], "0"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        return int(answer) if answer.strip().isdecimal() else -1

    try:
        url = f"redis://127.0.0.1:{port}/0"
        yield {"REDIS": url, "RQ_REDIS_URL": url}, [server.pid], left
    finally:
        server.terminate()
        server.wait()


def _measure(
    home: Path,
    system: System,
    count: int,
    environment: dict[str, str],
    brokers: list[int],
    left_of: Left,
) -> Measured:
    module = f"work_{system.name}"
    (home / f"{module}.py").write_text(system.source)
    given = {**os.environ, **environment}
    fill = f"import sys; sys.path.append('.'); import {module}; {module}.fill({count})"
    subprocess.run([system.python, "-c", fill], cwd=home, env=given, check=True)
    if left_of(system.name) != count:
        raise RuntimeError(f"{system.name}: {left_of(system.name)} of {count} tasks in the queue")
    with (home / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            [system.python, *system.worker], cwd=home, env=given, stdout=log, stderr=log
        )
        try:
            _until(worker, lambda: left_of(system.name) <= count * 0.9)
            begun, left = time.perf_counter(), left_of(system.name)
            before, brokers_before = _cpu_secs([worker.pid]), _cpu_secs(brokers)
            _until(worker, lambda: left_of(system.name) == 0)
            secs = time.perf_counter() - begun
            used = _cpu_secs([worker.pid]) - before
            brokers_used = _cpu_secs(brokers) - brokers_before
        except TimeoutError:
            raise RuntimeError((home / "worker.log").read_text()[-3000:]) from None
        finally:
            worker.terminate()
            worker.wait()
    return Measured(left / secs, used / left * 1e6, brokers_used / left * 1e6)


def _until(worker: subprocess.Popen[bytes], done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not done():
        if worker.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(LOOK_SECS)


def _cpu_secs(pids: list[int]) -> float:
    """Of processes and all that they started."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def _show(found: dict[str, list[Measured]], versions: dict[str, str]) -> list[dict[str, Any]]:
    table = Table(title="No-op tasks, median of the runs")
    columns = ("worker", "tasks/s", "least", "most", "worker CPU", "broker CPU", "of the best else")
    for name in columns:
        table.add_column(name, justify="left" if name == "worker" else "right")
    rates = {name: median(run.rate for run in runs) for name, runs in found.items()}
    rows = []
    for name, runs in found.items():
        best = max((rate for other, rate in rates.items() if other != name), default=0.0)
        row = {
            "worker": name,
            "version": versions[name],
            "rate": rates[name],
            "rate_min": min(run.rate for run in runs),
            "rate_max": max(run.rate for run in runs),
            "worker_us": median(run.worker_us for run in runs),
            "broker_us": median(run.broker_us for run in runs),
        }
        rows.append(row)
        cells = [f"{row[key]:,.0f}" for key in ("rate", "rate_min", "rate_max")]
        cells += [f"{row[key]:,.0f} us" for key in ("worker_us", "broker_us")]
        table.add_row(name, *cells, f"{rates[name] / best:.2f} x" if best else "")
    Console(stderr=True).print(table)
    return rows


if __name__ == "__main__":
    main()
