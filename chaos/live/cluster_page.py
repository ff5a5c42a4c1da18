"""The part of chaos/RESULTS.md about clusters of real processes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# What a fault may cost, in seconds: (p50, p99 or the only bound); None: no bound.
GOALS: dict[str, tuple[float | None, float | None]] = {
    "leader-crash": (0.15, 0.5),
    "leader-pause": (None, 2.0),
    "follower-crash": (None, 0.05),
    "transfer": (None, 0.1),
}


def page(found: Mapping[str, str]) -> list[str]:
    """Lines for the page, from the content of the files of results by name; newest first."""
    return [*_failover(found.get("failover", ""))]


def _rows(content: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in reversed(content.splitlines()) if line]


def _failover(content: str) -> list[str]:
    text = [
        "",
        "## A cluster of three, struck under load",
        "",
        "`python -m chaos.live.failover`: three processes, fsync on, producers, workers and"
        " cancellers on all nodes,",
        "and a probe that submits every 10 ms, each submit on its own. Gap: the longest time"
        " between acknowledged probes",
        "around the fault; calm: the same in the 1.5 s before. Elected: from the fault to the new"
        " leader; found: from",
        "there to the first acknowledgement. Late: how much too late this process sent a probe"
        " (the machine was busy).",
        "All in ms, p50 / p99 / max. Whole: until all nodes were as before, in s. Failed: calls"
        " that found no service.",
        "At the end every acknowledged request is accounted for, and all nodes hold the same, byte"
        " for byte.",
        "",
        "| when (UTC) | commit | fault | times | gap | goal | calm | elected | found | late |"
        " whole | calls | unknown | failed | broken promises | load average | machine |",
        "|" + "---|" * 17,
    ]
    return [*text, *(_strikes(row) for row in _rows(content))]


def _strikes(row: Mapping[str, Any]) -> str:
    cells = [
        *(row["when"], row["commit"], row["fault"], str(row["times"])),
        *(_ms(row["gap"]), _goal(row["fault"]), _ms(row["calm"]), _ms(row["elected"])),
        *(_ms(row["found"]), _ms(row["late"]), _secs(row["whole"])),
        *(f"{row['calls']:,}", f"{row['outcomes'].get('unknown', 0):,}", str(row["failed"])),
        *(str(row["violations"]), "-".join(str(one) for one in row["load_average"])),
        row["machine"],
    ]
    return "| " + " | ".join(cells) + " |"


def _goal(fault: str) -> str:
    half, most = GOALS.get(fault, (None, None))
    told = [f"p50 {half * 1000:.0f}"] if half else []
    return " ".join([*told, *([f"{'p99' if half else 'max'} {most * 1000:.0f}"] if most else [])])


def _ms(spread: Mapping[str, float]) -> str:
    return " / ".join(f"{spread[name] * 1000:.0f}" for name in spread)


def _secs(spread: Mapping[str, float]) -> str:
    return " / ".join(f"{spread[name]:.1f}" for name in spread)
