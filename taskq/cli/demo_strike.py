"""Half-way through `taskq demo`: the leader is killed, and how long nothing was carried out.

A probe sends a command that changes nothing (to cancel a task that does not exist) every 10 ms. It
goes through the log like any other, so an answer means that a majority has it on disk.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from taskq.cli.command import Failure
from taskq.cli.demo_run import COUNTED, count_by_tasks
from taskq.cli.local_cluster import LocalCluster
from taskq.cli.progress import Step
from taskq.cli.wordcount import Totals
from taskq.client import AsyncClient
from taskq.commands import CancelTask, GetCluster
from taskq.errors import NotFound, TaskqError

PROBE_SECS = 0.01
# How long another node may take to lead, before that is called a failure. Seconds.
RECOVERY_SECS = 30.0


class Outage(NamedTuple):
    """`killed` led until it was killed, `leader` leads now; for `secs` nothing was carried out."""

    killed: str
    leader: str
    secs: float


async def count_and_strike(
    cluster: LocalCluster, files: list[str], step: Step, look: Callable[[], None]
) -> tuple[Totals, Outage]:
    """Counts the words of `files`, and kills the leader when half of them are counted.

    `look` is called now and then: it starts nodes again, and raises where nothing can go on.
    """
    half = asyncio.Event()

    def step_and_tell(label: str, count: int) -> None:
        step(label, count)
        if label == COUNTED and 2 * count >= len(files):
            half.set()

    striking = asyncio.create_task(strike(cluster, half))
    try:
        totals = await count_by_tasks(cluster.url, files, step_and_tell, look)
        return totals, await striking
    finally:
        striking.cancel()
        await asyncio.gather(striking, return_exceptions=True)


async def strike(cluster: LocalCluster, when: asyncio.Event) -> Outage:
    """Kills the leader, and waits until another node leads and carries commands out."""
    async with AsyncClient(cluster.url, name="taskq demo probe") as client:
        probe = Probe(client)
        probing = asyncio.create_task(probe.run())
        try:
            await when.wait()
            killed = await _leader(client, but="")
            await probe.answer_sent_after(0.0)
            killed_at = time.perf_counter()
            cluster.kill(killed)
            leader = await _leader(client, but=killed)
            await probe.answer_sent_after(killed_at)
            return Outage(killed, leader, probe.longest_gap(killed_at))
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)


async def _leader(client: AsyncClient, but: str) -> str:
    deadline = time.perf_counter() + RECOVERY_SECS
    while time.perf_counter() < deadline:
        try:
            leader: str = (await client.call(GetCluster(stale=True), 1.0)).leader
        except TaskqError:
            leader = ""
        if leader not in ("", but):
            return leader
        await asyncio.sleep(PROBE_SECS)
    raise Failure(f"No node took over within {RECOVERY_SECS:.0f} s.")


class Probe:
    """Sends a command every 10 ms, whether or not the ones before were answered."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._latest_sent = 0.0  # of the probes that were answered
        self._news = asyncio.Event()
        self.answers: list[float] = []

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as probes:
            while True:
                probes.create_task(self._send())
                await asyncio.sleep(PROBE_SECS)

    async def _send(self) -> None:
        sent = time.perf_counter()
        try:
            await self._client.call(CancelTask(uuid.uuid4().bytes), RECOVERY_SECS)
        except NotFound:
            self._latest_sent = max(self._latest_sent, sent)
            self.answers.append(time.perf_counter())
            self._news.set()
        except TaskqError:
            return  # not carried out, or nobody knows: that is what is being measured

    async def answer_sent_after(self, moment: float) -> None:
        """Waits until a command that was sent after `moment` was carried out."""
        while self._latest_sent <= moment:
            self._news.clear()
            await self._news.wait()

    def longest_gap(self, since: float) -> float:
        """The longest time without an answer, from the last one before `since` on. Seconds."""
        before = [moment for moment in self.answers if moment <= since][-1:]
        after = [moment for moment in self.answers if moment > since]
        return max((later - earlier for earlier, later in pairwise(before + after)), default=0.0)
