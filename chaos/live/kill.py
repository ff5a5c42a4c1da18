"""`python -m chaos.live.kill`: a node killed again and again under load loses nothing.

One folder and port. Each round waits for a moment, kills the node with SIGKILL while requests are
under way, sometimes kills its start, too, and starts it again. The load never pauses. At the end
everything is read out and the history is judged.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from chaos.checkers import violations
from chaos.history import History, Kill
from chaos.live.load import Load
from chaos.live.moments import SERVING_PHASES, START, START_AGAIN, STOP, Moments
from chaos.live.node import LiveNode
from chaos.live.readout import read_out
from chaos.live.recorder import Recorder
from chaos.record import append, summary
from taskq import AsyncClient

# Small, so that checkpoints cut the log and compaction runs between the kills.
SETTINGS = {
    "persistence.checkpoint_log_bytes": 65_536,
    "persistence.compact_interval_secs": 1,
    "monitoring.log_level": "warning",
}
FIRST_REPLY_SECS = 30.0
# How often a start is killed, too, and then once more.
START_KILLED = 0.2


@dataclass
class Run:
    """One experiment and how it went. `pace_secs`: the mean pause of each client; `settings`: of
    the node, beside those that every run has."""

    rounds: int
    seed: int
    home: Path
    pace_secs: float = 0.02
    settings: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    violations: list[str] = field(default_factory=list)
    wall_secs: float = 0.0
    stopped: bool = False

    def stop(self) -> None:
        """Ends after the round that is under way."""
        self.stopped = True


async def run_kills(run: Run, on_round: Callable[[], None] = lambda: None) -> None:
    """Carries out the experiment. Raises NodeDied or NeverCame where a node does not come back,
    and AssertionError where a client heard what no node may say."""
    started = time.monotonic()
    recorder = Recorder(run.history)
    with LiveNode(run.home, SETTINGS | run.settings) as node:
        load = Load([node.url], recorder, run.seed, run.pace_secs)
        moments = Moments(node, recorder, random.Random(run.seed))
        rounds = _Rounds(run, node, recorder, moments)
        node.spawn()
        load.start()
        await node.serving()
        await moments.reply_after(node.spawned_at, FIRST_REPLY_SECS)
        for number in range(run.rounds):
            if run.stopped:
                break
            await rounds.one(SERVING_PHASES[number % len(SERVING_PHASES)])
            load.check()
            on_round()
        await load.stop()
        async with AsyncClient(node.url) as client:
            ids = {call.args["id"] for call in run.history.of("submit")}
            run.history.final = await read_out(client, ids)
        node.terminate()
    run.violations = violations(run.history)
    run.wall_secs = time.monotonic() - started


class _Rounds:
    """Kills and starts of one node."""

    def __init__(self, run: Run, node: LiveNode, recorder: Recorder, moments: Moments) -> None:
        self._kills = run.history.kills
        self._node = node
        self._recorder = recorder
        self._moments = moments
        self._random = random.Random(run.seed + 1)

    async def one(self, phase: str) -> None:
        """Kills a serving node, sometimes the start after that, and waits until it serves."""
        await self._moments.of(phase)
        in_flight = self._recorder.in_flight()
        if phase == STOP:
            await self._moments.of_stop()
        self._kill(phase, in_flight, served=True)
        self._node.spawn()
        for again in (START, START_AGAIN):
            if self._random.random() >= START_KILLED or not await self._moments.of_start():
                break
            self._kill(again, self._recorder.in_flight(), served=False)
            self._node.spawn()
        kill = self._kills[-1]
        kill.serving_secs = await self._node.serving()
        replied_at = await self._moments.reply_after(self._node.spawned_at, FIRST_REPLY_SECS)
        kill.first_reply_secs = replied_at - self._node.spawned_at

    def _kill(self, phase: str, in_flight: dict[str, int], *, served: bool) -> None:
        self._node.kill()
        now = time.monotonic()
        self._kills.append(Kill(now, phase, in_flight, served, now - self._node.spawned_at))


@click.command()
@click.option("--rounds", default=100, show_default=True, help="Kills of a serving node.")
@click.option("--seed", default=None, type=int, help="Of the load and the moments.")
@click.option("--pace", default=0.02, show_default=True, help="Mean pause of a client, seconds.")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/kill.jsonl.")
@click.option("--json", "as_json", is_flag=True, help="The result as one line of JSON.")
def main(rounds: int, seed: int | None, pace: float, keep: bool, as_json: bool) -> None:
    """Kill a node under load, again and again, and account for every acknowledged request.

    Ctrl-C ends after the present round and still judges it. Exit code 1: a promise was broken; the
    folder and the history are kept.
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    run = Run(rounds, seed, Path(tempfile.mkdtemp(prefix="taskq-kill-")), pace)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} kills"))
    try:
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            bar = progress.add_task("killing", total=rounds)
            asyncio.run(_until_interrupted(run, lambda: progress.advance(bar)))
    except BaseException:
        run.history.save(run.home / "history.jsonl.gz")
        console.print(f"The folder and the history are kept in {run.home}.")
        raise
    row = summary(run)
    if keep and not run.stopped:
        append("kill", row)
    _report(run, row, console, as_json=as_json)
    sys.exit(1 if run.violations else 0)


async def _until_interrupted(run: Run, on_round: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, run.stop)
    await run_kills(run, on_round)


def _report(run: Run, row: dict[str, Any], console: Console, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(row, sort_keys=True))
    else:
        for key, value in row.items():
            print(f"{key}: {value}")
    for line in run.violations[:50]:
        console.print(line, markup=False, highlight=False)
    if run.violations:
        run.history.save(run.home / "history.jsonl.gz")
        console.print(f"The folder and the history are kept in {run.home}.")
    else:
        shutil.rmtree(run.home, ignore_errors=True)


if __name__ == "__main__":
    main()
