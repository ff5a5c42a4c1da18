"""The part of chaos/RESULTS.md about rolling upgrades. Pure."""

from __future__ import annotations

import json


def page(content: str) -> list[str]:
    """Lines for the page, from the content of results/upgrade.jsonl."""
    rows = [json.loads(line) for line in content.splitlines() if line]
    if not rows:
        return []
    lines = [
        "",
        "## Rolling upgrades",
        "",
        "`python -m chaos.live.upgrade LATER`: three nodes under load, each stopped and started"
        " with the other version: forth and",
        "back, forth again; then the feature level is raised, and the old version refuses to"
        " start. The later version has an",
        "outcome that changed, a new command and a new record (`tests/builds/tomorrow.py`). A roll"
        " is over when the cluster is whole.",
        "",
        "| when (UTC) | commit | rolls | roll p50 / max s | longest time without service p50 /"
        " max s | calls | unknown | tasks | broken promises | machine |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in reversed(rows):
        cells = [
            *(row["when"], row["commit"], str(row["rolls"])),
            " / ".join(f"{secs:.1f}" for secs in row["roll_secs"]),
            " / ".join(f"{secs:.2f}" for secs in row["gap_secs"]),
            *(f"{row['calls']:,}", f"{row['unknown']:,}", f"{row['tasks']:,}"),
            *(str(row["violations"]), row["machine"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
