"""The part of chaos/RESULTS.md about clusters of real processes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# The numbers of a spread, in the order of the page: those of a file are sorted by name.
SPREAD = ("p50", "p99", "max")
# What a fault may cost, in seconds: (p50, p99 or the only bound); None: no bound.
GOALS: dict[str, tuple[float | None, float | None]] = {
    "leader-crash": (0.15, 0.5),
    "leader-pause": (None, 2.0),
    "follower-crash": (None, 0.05),
    "transfer": (None, 0.1),
}


def page(found: Mapping[str, str]) -> list[str]:
    """Lines for the page, from the content of the files of results by name; newest first."""
    return [
        *_failover(found.get("failover", "")),
        *_steady(found.get("steady", "")),
        *_catch_up(found.get("catch_up", "")),
    ]


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
        "Scattered: clients stay at any node, which passes their requests on; else they go to the"
        " leader.",
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


def _steady(content: str) -> list[str]:
    text = [
        "",
        "## A healthy cluster under full load",
        "",
        "`python -m chaos.live.steady`: batches of 100 as fast as they are taken, fsync on, the"
        " client on the same machine.",
        "No leader changes, nothing that was applied is truncated, each entry goes to each follower"
        " once.",
        "",
        "| when (UTC) | commit | minutes | life cycles/s | entries | sent to each follower |"
        " elections | truncations | memory of a node, MiB | broken promises | load average |"
        " machine |",
        "|" + "---|" * 12,
    ]
    return [*text, *(_load(row) for row in _rows(content))]


def _load(row: Mapping[str, Any]) -> str:
    cells = [
        *(row["when"], row["commit"], f"{row['secs'] / 60:.1f}", f"{row['cycles_per_sec']:,}"),
        *(f"{row['entries']:,}", f"{row['sent_each']:g} times", str(row["elections"])),
        *(str(row["truncated"]), _mib(row["most_bytes"]), str(row["violations"])),
        *(str(row["load_average"][0]), row["machine"]),
    ]
    return "| " + " | ".join(cells) + " |"


def _catch_up(content: str) -> list[str]:
    text = [
        "",
        "## A follower that was away",
        "",
        "`python -m chaos.live.catch_up`: killed, and started again after the tasks (100 B) were"
        " submitted: a snapshot brings",
        "it up while a probe submits every 10 ms. Gap: the longest time between acknowledged probes"
        " until it has caught",
        "up; calm: in the seconds before. Memory (RssAnon): idle with the tasks (the follower that"
        " was away: with none) -",
        "the most meanwhile.",
        "",
        "| when (UTC) | commit | tasks | snapshots | caught up in s | gap ms | calm ms | late ms |"
        " leader MiB | follower MiB | the one away MiB | broken promises |"
        " load average | machine |",
        "|" + "---|" * 14,
    ]
    return [*text, *(_return(row) for row in _rows(content))]


def _return(row: Mapping[str, Any]) -> str:
    memory = [
        f"{_mib(row['idle'][role])} - {_mib(row['most'][role])}"
        for role in ("leader", "follower", "away")
    ]
    cells = [
        *(row["when"], row["commit"], f"{row['tasks']:,}", str(row["snapshots"])),
        *(f"{row['secs']:.1f}", *(f"{row[name] * 1000:.0f}" for name in ("gap", "calm", "late"))),
        *(*memory, str(row["violations"]), str(row["load_average"][0]), row["machine"]),
    ]
    return "| " + " | ".join(cells) + " |"


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f}"


def _strikes(row: Mapping[str, Any]) -> str:
    scattered = ", scattered" if row.get("scattered") else ""
    cells = [
        *(row["when"], row["commit"], row["fault"] + scattered, str(row["times"])),
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
    return " / ".join(f"{spread[name] * 1000:.0f}" for name in SPREAD if name in spread)


def _secs(spread: Mapping[str, float]) -> str:
    return " / ".join(f"{spread[name]:.1f}" for name in SPREAD if name in spread)
