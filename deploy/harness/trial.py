"""One trial: an overlay runs as pods, under load, through one exercise, and is judged.

    all pods at once -> load, probe -> exercise -> load ends -> read out -> give out -> compare ->
    judge

As a round of a campaign (`chaos/live/campaign.py`), with pods in the place of its nodes.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from chaos.history import Call, History
from chaos.live.alike import differences
from chaos.live.campaign import (
    GIVE_OUT_SECS,
    GIVEN_UP,
    HASTY,
    PACE_SECS,
    READ_OUT_SECS,
    STOP_SECS,
    TOLD_COUNT_MAX,
)
from chaos.live.giving_out import give_out
from chaos.live.load import Load
from chaos.live.nemesis import Scene
from chaos.live.probe import Probe
from chaos.live.readout import read_out
from chaos.live.recorder import Recorder
from chaos.live.strikes import Strike, Striker
from chaos.live.unserved import without_service
from chaos.live.verdict import Verdict
from deploy.harness.exercises import Exercise
from deploy.harness.machine import Machine
from deploy.harness.next_build import TAG, build_next
from deploy.harness.operator_steps import prepared
from deploy.harness.pod_cluster import NAME, PodCluster
from deploy.harness.stateful_set import NotInTime
from taskq import AsyncClient

CALM_SECS, SETTLE_SECS = 1.5, 2.0


@dataclass
class Trial:
    """One exercise of one overlay and how it went. `image`: what is run in the place of the
    template's image. `found_secs`: from the creation of all pods until all were ready."""

    exercise: Exercise
    overlay: str
    image: str
    home: Path
    seed: int
    history: History = field(default_factory=History)
    strike: Strike | None = None
    acks: list[float] = field(default_factory=list)
    failed: list[Call] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    load_average: float = 0.0
    found_secs: float = 0.0
    wall_secs: float = 0.0


async def carry_out(trial: Trial) -> None:
    """Carries out the trial and judges it. Raises OSError where no pods can be made, RenderFailed
    and Unsupported for the overlay."""
    began = time.monotonic()
    steps = prepared(trial.overlay, trial.home)
    (container,) = steps.objects.one("StatefulSet", NAME)["spec"]["template"]["spec"]["containers"]
    images = {container["image"]: trial.image}
    if trial.exercise.two_builds:
        images[TAG] = await asyncio.to_thread(build_next, trial.image)
    with (
        Machine(trial.home, images) as machine,
        PodCluster(machine, steps) as cluster,
    ):
        try:
            await _steps(trial, cluster)
        except (*GIVEN_UP, NotInTime) as error:
            told = f"comes_back: {type(error).__name__}: {error}"
            trial.verdict.violations.append(told[:TOLD_COUNT_MAX])
        finally:
            await cluster.end()
    trial.wall_secs = time.monotonic() - began
    _judge(trial)


async def _steps(trial: Trial, cluster: PodCluster) -> None:
    began = time.monotonic()
    await cluster.begin()
    trial.found_secs = time.monotonic() - began
    recorder = Recorder(trial.history)
    load = Load(cluster.urls, recorder, trial.seed, PACE_SECS, HASTY)
    probe = Probe(cluster.urls[0], recorder)
    scene = Scene(cluster, random.Random(trial.seed))
    striker = Striker(scene, probe, recorder, calm_secs=CALM_SECS, settle_secs=SETTLE_SECS)
    load.start()
    probe.start()
    try:
        trial.strike = await striker.strike(trial.exercise.nemesis, trial.exercise.target)
    finally:
        if trial.strike is None:
            trial.strike = striker.under_way
        trial.load_average = os.getloadavg()[0]
        async with asyncio.timeout(STOP_SECS):
            await load.stop()
            await probe.stop()
        trial.acks = probe.acks
    async with AsyncClient(cluster.urls[0]) as client:
        ids = {call.args["id"] for call in trial.history.of("submit")}
        async with asyncio.timeout(READ_OUT_SECS):
            trial.history.final = await read_out(client, ids)
        async with asyncio.timeout(GIVE_OUT_SECS):
            trial.history.final.given = await give_out(client, trial.history.final)
    trial.verdict.violations += await differences(cluster)


def _judge(trial: Trial) -> None:
    trial.failed = without_service(trial.history)
    if trial.exercise.nemesis.planned and trial.failed:
        told = f"{len(trial.failed)} probes found no service"
        trial.verdict.violations.append(f"planned: {told}")
    trial.verdict.judge(trial.history)
