"""A round of a campaign: a new cluster under load, fault after fault, and then the judgement.

    start -- load, probe -- strike ... strike -- load ends -- read out -- give out -- compare --
    judge

Rounds are short, so that histories are bounded: in memory, and in the time to judge them.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.history import Call, History
from chaos.live.alike import differences
from chaos.live.cluster import LiveCluster, NotWhole
from chaos.live.giving_out import give_out
from chaos.live.ground import LINKS, Ground
from chaos.live.load import Load
from chaos.live.nemeses import Aim
from chaos.live.nemesis import Scene
from chaos.live.node import NodeDied
from chaos.live.probe import Probe
from chaos.live.readout import read_out
from chaos.live.recorder import Recorder
from chaos.live.strikes import Strike, Striker
from chaos.live.unserved import without_service
from chaos.live.verdict import Verdict
from taskq import AsyncClient
from taskq.errors import TaskqError

SETTINGS = {"broker.queue_depth_threshold": 10_000_000}
# In every second round: the log is cut between the faults, a node that was away for some seconds
# comes back by a snapshot, and tables are merged all the time.
CUTTING = {
    "persistence.checkpoint_log_bytes": 65_536,
    "persistence.compact_interval_secs": 1,
}
PACE_SECS = 0.02
# Parts of the calls that give up early, so that some outcomes stay unknown.
HASTY = 0.2
# A campaign wants many faults; each has a cluster that is whole before it.
CALM_SECS = 0.5
SETTLE_SECS = 0.5
# From the last fault on, actors may still wait for calls that nobody will answer.
STOP_SECS = 90.0
READ_OUT_SECS = 120.0
GIVE_OUT_SECS = 120.0
# A cluster that is broken shows itself so to whoever works on it.
GIVEN_UP = (
    *(NotWhole, NodeDied, TimeoutError, TaskqError, AssertionError),
    subprocess.TimeoutExpired,
)
TOLD_COUNT_MAX = 2_000


@dataclass
class Round:
    """One round and how it went. Its `plan` (what strikes, one after the other), `nodes`, and all
    chance from `seed` can be repeated; what the machine's time does to it cannot. No strike begins
    after `secs`. `equipped`: with disks that can fail. `links`: by what they are harmed. `struck`:
    what was begun of the plan; `strikes`: what was carried out; `missed`: what met
    nobody."""

    seed: int
    plan: Iterator[Aim]
    home: Path
    ground: Ground
    nodes: int = 3
    secs: float = 120.0
    equipped: bool = False
    calm_secs: float = CALM_SECS
    settle_secs: float = SETTLE_SECS
    pace_secs: float = PACE_SECS
    settings: Mapping[str, Any] = field(default_factory=dict)
    links: str = ""
    history: History = field(default_factory=History)
    strikes: list[Strike] = field(default_factory=list)
    missed: list[Strike] = field(default_factory=list)
    struck: list[Aim] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    late: list[tuple[float, float]] = field(default_factory=list)
    failed: list[Call] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    load_averages: list[float] = field(default_factory=list)
    started: float = 0.0
    wall_secs: float = 0.0
    judge_secs: float = 0.0
    stopped: bool = False

    @property
    def all_settings(self) -> dict[str, Any]:
        """Of every node."""
        return {**SETTINGS, **(CUTTING if self.seed % 2 else {}), **self.settings}

    def stop(self) -> None:
        """Ends after the strike that is under way."""
        self.stopped = True


async def carry_out(round_: Round, on_strike: Callable[[Strike], None] = lambda _: None) -> None:
    """Carries out the round and judges it. A cluster that does not come back is a broken promise,
    too. Raises OSError where the ground cannot be made."""
    round_.started = time.monotonic()
    recorder = Recorder(round_.history)
    with LiveCluster(
        round_.home, round_.nodes, round_.all_settings, ground=round_.ground
    ) as cluster:
        if LINKS in round_.ground.abilities:
            round_.links = round_.ground.links.means
        if round_.equipped:
            cluster.equip(round_.seed)
        cluster.start()
        load = Load(cluster.urls, recorder, round_.seed, round_.pace_secs, HASTY)
        probe = Probe(cluster.url, recorder)
        scene = Scene(cluster, random.Random(round_.seed))
        striker = Striker(
            *(scene, probe, recorder),
            calm_secs=round_.calm_secs,
            settle_secs=round_.settle_secs,
        )
        with _noted(round_, "comes_back"):
            await cluster.whole()
            load.start()
            probe.start()
            await _strikes(round_, striker, probe, load, on_strike)
        with _noted(round_, "ends"):
            async with asyncio.timeout(STOP_SECS):
                await load.stop()
                await probe.stop()
        round_.acks, round_.late = probe.acks, probe.late
        with _noted(round_, "read_out"):
            async with asyncio.timeout(READ_OUT_SECS), AsyncClient(cluster.url) as client:
                ids = {call.args["id"] for call in round_.history.of("submit")}
                round_.history.final = await read_out(client, ids)
        final = round_.history.final
        if final is not None:
            with _noted(round_, "gives_out"):
                async with asyncio.timeout(GIVE_OUT_SECS), AsyncClient(cluster.url) as client:
                    final.given = await give_out(client, final)
        if not round_.verdict.violations:
            with _noted(round_, "alike"):
                round_.verdict.violations += await differences(cluster)
    round_.wall_secs = time.monotonic() - round_.started
    _judge(round_)


@contextmanager
def _noted(round_: Round, rule: str) -> Iterator[None]:
    """What a sound cluster does not do to an experiment is a broken promise, and no error."""
    try:
        yield
    except GIVEN_UP as error:
        told = f"{rule}: {type(error).__name__}: {error}"
        round_.verdict.violations.append(told[:TOLD_COUNT_MAX])


async def _strikes(
    round_: Round,
    striker: Striker,
    probe: Probe,
    load: Load,
    on_strike: Callable[[Strike], None],
) -> None:
    for aim in round_.plan:
        round_.struck.append(aim)
        try:
            strike = await striker.strike(aim.nemesis, aim.target)
        except GIVEN_UP:
            if striker.under_way is not None:  # what it did stands beside its name
                round_.strikes.append(striker.under_way)
            raise
        (round_.missed if strike.missed else round_.strikes).append(strike)
        round_.load_averages.append(os.getloadavg()[0])
        load.check()
        round_.acks = probe.acks
        on_strike(strike)
        if round_.stopped or time.monotonic() - round_.started > round_.secs:
            break


def _judge(round_: Round) -> None:
    started = time.monotonic()
    round_.failed = without_service(round_.history)
    for strike in round_.strikes:
        failed = [one for one in round_.failed if one.start < strike.over and one.end > strike.at]
        if strike.planned and failed:
            told = f"{len(failed)} probes found no service in a {strike.fault}"
            round_.verdict.violations.append(f"planned: {told}")
    round_.verdict.judge(round_.history)
    round_.judge_secs = time.monotonic() - started
