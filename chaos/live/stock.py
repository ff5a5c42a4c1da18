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
from functools import partial
from pathlib import Path
from typing import Any

import click

from chaos.history import History
from chaos.live.campaign import Round, carry_out
from chaos.live.campaign_record import LOST
from chaos.live.cluster import LiveCluster
from chaos.live.ground import Ground
from chaos.live.nemeses import Aim
from chaos.live.one_bit import flip_one_bit, shorten_ours, shorten_stock
from chaos.live.stamp import stamp
from chaos.live.stock_node import StockGround
from chaos.record import append

STOCK, OURS = "PySyncObj's", "ours"
POWER, BIT = "power of all nodes fails", "one bit flips on one of three nodes"
# A clean stop syncs everything, PySyncObj's journal, too: what is lost after it, no sync covered.
POWER_FAILS = ("stop@all", "power cut, nothing unsynced left@all")
ROUND_SECS = 60.0


def power_fails(home: Path, ground: Ground, seed: int) -> Round:
    """The round, carried out and judged."""
    plan = iter([Aim.parse(text) for text in POWER_FAILS])
    made = Round(seed, plan, home, ground, secs=ROUND_SECS, equipped=True)
    asyncio.run(carry_out(made))
    return made


def acknowledged(history: History) -> int:
    """Submits that were."""
    return len({call.args["id"] for call in history.of("submit") if call.ok})


def experiments(home: Path, seed: int) -> list[dict[str, Any]]:
    """Each experiment with each journal: its name, and how many acknowledged tasks were lost."""
    found: list[dict[str, Any]] = []
    for journal, ground in ((STOCK, StockGround()), (OURS, Ground())):
        made = power_fails(home / f"power, {journal}", ground, seed)
        rules = made.verdict.by_rule()
        lost = sum(rules.get(rule, 0) for rule in LOST)
        sent = acknowledged(made.history)
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
