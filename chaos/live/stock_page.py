"""The part of chaos/RESULTS.md about PySyncObj's own journal. Pure."""

from __future__ import annotations

import json


def page(content: str) -> list[str]:
    """Lines for the page, from the content of results/stock.jsonl."""
    rows = [json.loads(line) for line in content.splitlines() if line]
    if not rows:
        return []
    lines = [
        "",
        "## The same with PySyncObj's own journal",
        "",
        "`python -m chaos.live.stock`: its file journal and meta file in place of our log, by a"
        " switch that only exists here;",
        "ours from the same seed. Power: all nodes lose what they had not synced, under load. Bit:"
        " one node's log becomes",
        "shorter than it was; it and one that was away are a majority without the third. Lost:"
        " acknowledged tasks that are gone.",
        "",
        "| when (UTC) | commit | seed | fault | journal | acknowledged | lost | machine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in reversed(rows):
        for one in row["experiments"]:
            cells = [
                *(row["when"], row["commit"], str(row["seed"]), one["fault"], one["journal"]),
                *(f"{one['acknowledged']:,}", f"{one['lost']:,}", row["machine"]),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines
