"""`python -m chaos.live.stock`: what PySyncObj's own journal loses, and ours under the same seed.

Two experiments, with each journal: the power of all nodes fails under load, and one bit flips on
one node (`one_bit.py`). It shows that they find a node that loses what it acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from chaos.history import History, Kill
from chaos.live.cluster import LiveCluster
from chaos.live.disk_faults import BARE_POWER_CUT
from chaos.live.ground import Ground
from chaos.live.load import Load
from chaos.live.nemesis import Scene
from chaos.live.one_bit import flip_one_bit, shorten_ours, shorten_stock
from chaos.live.probe import Probe
from chaos.live.readout import read_out
from chaos.live.recorder import Recorder
from chaos.live.stamp import stamp
from chaos.live.stock_node import StockGround
from chaos.live.verdict import LOST, Verdict, judged
from chaos.record import append
from taskq import AsyncClient

STOCK, OURS = "PySyncObj's", "ours"
POWER, BIT = "power of all nodes fails", "one bit flips on one of three nodes"
SETTINGS = {"broker.queue_depth_threshold": 10_000_000}
LOAD_SECS = 4.0
SERVED_SECS = 60.0
PACE_SECS = 0.02


async def power_fails(home: Path, ground: Ground, seed: int) -> tuple[History, Verdict]:
    """All nodes lose power under load, and with it all that they had not synced; then everything
    is read. A clean stop before it syncs everything, PySyncObj's journal, too: what is lost, no
    sync covered. Raises NotWhole, NodeDied, TimeoutError."""
    history = History()
    recorder = Recorder(history)
    with LiveCluster(home, settings=SETTINGS, ground=ground) as cluster:
        cluster.equip(seed)
        cluster.start()
        await cluster.whole()
        nodes = cluster.nodes.values()
        await asyncio.gather(*(asyncio.to_thread(node.terminate) for node in nodes))
        cluster.start()
        await cluster.whole()
        load = Load(cluster.urls, recorder, seed, PACE_SECS)
        probe = Probe(cluster.url, recorder)
        load.start()
        probe.start()
        await asyncio.sleep(LOAD_SECS)
        history.kills.append(Kill(time.monotonic(), POWER, recorder.in_flight(), served=True))
        scene = Scene(cluster, random.Random(seed))
        async with BARE_POWER_CUT.harm(scene, tuple(cluster.nodes)):
            pass
        history.kills[-1].over = await probe.served_after(time.monotonic(), SERVED_SECS)
        await load.stop()
        await probe.stop()
        async with AsyncClient(cluster.url) as client:
            history.final = await read_out(client, {one.args["id"] for one in history.of("submit")})
    return history, judged(history)


def acknowledged(history: History) -> int:
    """Submits that were."""
    return len({call.args["id"] for call in history.of("submit") if call.ok})


def experiments(home: Path, seed: int) -> list[dict[str, Any]]:
    """Each experiment with each journal: its name, and how many acknowledged tasks were lost."""
    found: list[dict[str, Any]] = []
    for journal, ground in ((STOCK, StockGround()), (OURS, Ground())):
        history, verdict = asyncio.run(power_fails(home / f"power, {journal}", ground, seed))
        rules = verdict.by_rule()
        lost = sum(rules.get(rule, 0) for rule in LOST)
        sent = acknowledged(history)
        row = {"fault": POWER, "journal": journal, "acknowledged": sent, "lost": lost}
        found.append({**row, "rules": rules})
    flips = ((STOCK, StockGround(), shorten_stock), (OURS, Ground(), shorten_ours))
    for journal, ground, shorten in flips:
        with LiveCluster(home / f"bit, {journal}", ground=ground) as cluster:
            flip = partial(shorten, seed=seed) if shorten is shorten_ours else shorten
            outcome = asyncio.run(flip_one_bit(cluster, flip))
        row = {"fault": BIT, "journal": journal, "acknowledged": outcome.acknowledged}
        found.append({**row, "lost": len(outcome.lost), "rules": {}})
    return found


@click.command()
@click.option("--seed", default=None, type=int, help="Of the load and the moments.")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/stock.jsonl.")
def main(seed: int | None, keep: bool) -> None:
    """Lose power, and flip one bit, with PySyncObj's journal in place of ours, and with ours.

    Exit code 1: ours lost something, or PySyncObj's did not (then the experiment shows nothing).
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    home = Path(tempfile.mkdtemp(prefix="taskq-stock-"))
    found = experiments(home, seed)
    row = {**stamp(), "seed": seed, "experiments": found}
    if keep:
        append("stock", row)
    print(json.dumps(row, sort_keys=True))
    as_it_should = all((one["lost"] > 0) == (one["journal"] == STOCK) for one in found)
    if not as_it_should:
        print(f"The folders are kept in {home}.", file=sys.stderr)
    sys.exit(0 if as_it_should else 1)


if __name__ == "__main__":
    main()
