"""The part of chaos/RESULTS.md about simulated seeds. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import Any

# The head of a column, and what is counted for it.
COLUMNS = (
    ("calls", "calls"),
    ("elections", "terms led"),
    ("kills", "kill"),
    ("power cuts", "power cut"),
    ("in a write", "unsynced write"),
    ("healed", "partition healed"),
    ("pauses", "pause"),
    ("planned stops", "fault: stop"),
    ("failed writes", "write failed"),
    ("disks lost", "loss found"),
    ("recovered", "recovered"),
    ("snapshots", "snapshot installed"),
    ("transfers", "transferred"),
    ("maps compared", "maps compared"),
)
# Of what a broken promise says, so much is told.
TEXT_MAX = 160


def page(content: str) -> list[str]:
    """Lines for the page, from the lines of results/sim.jsonl: one row for all runs of a commit
    that follow each other, newest first."""
    rows = [json.loads(line) for line in content.splitlines() if line]
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row["commit"])]
    heads = ["when (UTC)", "commit", "seeds", "hours of virtual time", "minutes"]
    heads += [head for head, _ in COLUMNS]
    return [
        "",
        "## Whole clusters from a seed",
        "",
        f"`python -m chaos.sim`: {sum(row['run'] for row in rows):,} seeds so far. Real nodes on"
        " virtual clocks, networks and disks,",
        "a minute of faults each; the promises are checked after every step. A seed in which one"
        " was broken is",
        "listed with it.",
        "",
        "| " + " | ".join([*heads, "broken promises"]) + " |",
        "|" + "---|" * (len(heads) + 1),
        *(_row(group) for group in reversed(groups)),
    ]


def _row(group: list[dict[str, Any]]) -> str:
    counts: Counter[str] = Counter()
    for row in group:
        counts.update(row["counts"])
    broken = {int(seed): text for row in group for seed, text in row["broken"].items()}
    told = [f"{seed}: {text[:TEXT_MAX]}" for seed, text in sorted(broken.items())]
    last = group[-1]
    cells = [
        *(last["when"], last["commit"]),
        f"{sum(row['run'] for row in group):,} of {_ranges(row['seeds'] for row in group)}",
        f"{sum(row['virtual_secs'] for row in group) / 3600:.1f}",
        f"{sum(row['wall_secs'] for row in group) / 60:.1f}",
        *(f"{counts[name]:,}" for _, name in COLUMNS),
        "; ".join(told).replace("|", "/").replace("\n", " ") or "0",
    ]
    return "| " + " | ".join(cells) + " |"


def _ranges(found: Iterable[list[int]]) -> str:
    """FIRST:END of each, those that touch as one."""
    joined: list[list[int]] = []
    for first, end in sorted(found):
        if joined and joined[-1][1] == first:
            joined[-1][1] = end
        else:
            joined.append([first, end])
    return ", ".join(f"{first}:{end}" for first, end in joined)
