"""What was measured, kept: one line of JSON per load and session, and the page made of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
SHARES = HERE / "where.jsonl"
PAGE = HERE / "RESULTS.md"
# The page shows so many sessions, newest first; the file keeps all.
SHOWN_MAX = 40


def commit() -> str:
    """The commit that is measured, with `+` where the tree differs from it."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", "taskq", "cluster") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def append(rows: list[dict[str, Any]]) -> None:
    """Adds measurements to their file and makes the page anew."""
    _add(RESULTS, rows)


def append_shares(row: dict[str, Any]) -> None:
    """Adds the shares of processor time of one recording, and makes the page anew."""
    _add(SHARES, [row])


def _add(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        for row in rows:
            file.write(json.dumps(row, sort_keys=True) + "\n")
    PAGE.write_text(page(RESULTS.read_text(), SHARES.read_text()))


def page(results: str, shares: str) -> str:
    """The page for the contents of the two files."""
    rows = [json.loads(line) for line in results.splitlines() if line]
    lines = [
        "# Measurements",
        "",
        "Generated from `results.jsonl` and `where.jsonl`; not typed. Medians of the runs, the"
        " range in brackets.",
        "Durability fsync; client and brokers (one, or where the load says so three) on the same"
        " machine; CPU is that of all",
        "brokers together. The load average at the end tells how quiet the machine was.",
        "",
        "| when (UTC) | commit | load | rate | goal | p50 ms | p99 ms | broker CPU | client CPU |"
        " changed settings | machine | load average |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(row) for row in reversed(rows[-SHOWN_MAX:])]
    newest = {row["load"]: row for row in map(json.loads, shares.splitlines())}
    for row in newest.values():
        lines += ["", f"## Where the broker's time goes: {row['load']}", ""]
        lines += [f"Commit {row['commit']}.", "", "| | share |", "|---|---|"]
        ordered = sorted(row["shares"].items(), key=lambda pair: -pair[1])
        lines += [f"| {name} | {share:.1%} |" for name, share in ordered]
    return "\n".join(lines) + "\n"


def _goal(row: dict[str, Any]) -> str:
    if row.get("goal_ms"):
        return f"{row['goal_ms']:g} ms"
    return f"{row['goal']:,}" if row["goal"] else ""


def _row(row: dict[str, Any]) -> str:
    rate = f"{row['rate']:,.0f} {row['unit']} ({row['rate_min']:,.0f}-{row['rate_max']:,.0f})"
    changed = ", ".join(f"{key}={value}" for key, value in row["settings"].items()) or "none"
    cells = [
        *(row["when"], row["commit"], row["load"], rate),
        _goal(row),
        f"{row['p50_ms']:.2f}" if row["p50_ms"] is not None else "",
        f"{row['p99_ms']:.2f}" if row["p99_ms"] is not None else "",
        f"{row['broker_us']:.0f} us",
        f"{row['client_us']:.0f} us",
        *(changed, row["machine"], row.get("load_average", "")),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
