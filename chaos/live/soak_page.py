"""The part of chaos/RESULTS.md about soaks. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from chaos.live.bounded import GAUGES, JUDGED_SECS_MIN

PLOTS = "soak.html"


def plotted(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of rows, newest first, the one whose plots are kept: the newest that was long enough."""
    return next((row for row in rows if row["load_secs"] >= JUDGED_SECS_MIN), None)


def page(content: str) -> list[str]:
    """Lines for the page, from the content of results/soak.jsonl; newest first."""
    rows = [json.loads(line) for line in reversed(content.splitlines()) if line]
    if not rows:
        return []
    titles = " | ".join(gauge.title for gauge in GAUGES.values())
    return [
        "",
        "## Soaks: steady load and random faults for long",
        "",
        "`make soak MINUTES=30` (`python -m chaos.live.soak`): life cycles at a part of the peak"
        " that the same cluster had before the first fault, submitted",
        "whatever happens, and one random fault after the other. Retention removes what is"
        " finished. At the end every acknowledged",
        "task has been completed, once, and all nodes hold the same. What a node uses: the most in"
        " the middle third - in the last,",
        "of the node that uses most; the rule is in `chaos/live/bounded.py`.",
        *_plots(rows),
        "",
        "| when (UTC) | commit | minutes | tasks/s wanted, done | of peak | strikes |"
        " without service ms | acknowledged | unknown | refused | lost | doubled |"
        f" {titles} | broken promises | changed settings | machine | load average |",
        "|" + "---|" * (16 + len(GAUGES)),
        *(_line(row) for row in rows),
    ]


def _plots(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    row = plotted(rows)
    if row is None:
        return []
    return [
        "",
        f"Plots of the run of {row['when']}: [{PLOTS}](results/{PLOTS}), to be opened locally.",
    ]


def _line(row: Mapping[str, Any]) -> str:
    gap = " / ".join(f"{row['gap'][name] * 1000:.0f}" for name in ("p50", "p99", "max"))
    cells = [
        *(row["when"], row["commit"], f"{row['load_secs'] / 60:.0f}"),
        f"{row['rate']['wanted']:,}, {row['rate']['done']:,}",
        f"{row['rate']['wanted'] / row['rate']['peak']:.0%} of {row['rate']['peak']:,}",
        *(str(sum(row["strikes"].values())), gap, f"{row['acknowledged']:,}"),
        *(f"{row['unknown']:,}", f"{sum(row['refused'].values()):,}"),
        *("unknown" if row["lost"] is None else str(row["lost"]), str(row["doubled"])),
        *(_use(row, name) for name in GAUGES),
        "; ".join([str(row["violations"]), *row["first_violations"]]),
        ", ".join(f"{key}={value}" for key, value in row["settings"].items()),
        row["machine"],
        " to ".join(f"{one:.0f}" for one in row.get("load_average", ())),
    ]
    return "| " + " | ".join(cells) + " |"


def _use(row: Mapping[str, Any], name: str) -> str:
    """`uses` are the most, that of the middle third, that of the last."""
    each = row["uses"].get(name)
    if not each:
        return ""
    unit = GAUGES[name].unit
    return " - ".join(f"{max(use[at] for use in each.values()) / unit:.0f}" for at in (1, 2))
