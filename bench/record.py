"""What was measured, kept: one line of JSON per load and session, and the page made of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
SHARES = HERE / "where.jsonl"
BACKLOGS = HERE / "backlog.jsonl"
WORKERS = HERE / "workers.jsonl"
BACKUPS = HERE / "backup.jsonl"
FILES = (RESULTS, SHARES, BACKLOGS, WORKERS, BACKUPS)
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


def circumstances() -> dict[str, Any]:
    """When, of which commit, and on what kind of machine something was just measured."""
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "load_average": round(os.getloadavg()[0], 1),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
    }


def append(rows: list[dict[str, Any]]) -> None:
    """Adds measurements to their file and makes the page anew."""
    _add(RESULTS, rows)


def append_shares(row: dict[str, Any]) -> None:
    """Adds the shares of processor time of one recording, and makes the page anew."""
    _add(SHARES, [row])


def append_backlog(row: dict[str, Any]) -> None:
    """Adds what a long backlog cost, and makes the page anew."""
    _add(BACKLOGS, [row])


def append_workers(row: dict[str, Any]) -> None:
    """Adds a comparison of workers, and makes the page anew."""
    _add(WORKERS, [row])


def append_backup(row: dict[str, Any]) -> None:
    """Adds what a backup cost, and makes the page anew."""
    _add(BACKUPS, [row])


def _add(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        for row in rows:
            file.write(json.dumps(row, sort_keys=True) + "\n")
    PAGE.write_text(page(*(file.read_text() for file in FILES)))


def page(results: str, shares: str, backlogs: str, workers: str, backups: str) -> str:
    """The page for the contents of the files."""
    rows = [json.loads(line) for line in results.splitlines() if line]
    lines = [
        "# Measurements",
        "",
        "Generated from `results.jsonl`, `workers.jsonl`, `backlog.jsonl`, `backup.jsonl` and"
        " `where.jsonl`; not typed. Medians of the runs, the range in brackets.",
        "Durability fsync; client and brokers (one, or where the load says so three) on the same"
        " machine; CPU is that of all",
        "brokers together. The load average at the end tells how quiet the machine was.",
        "",
        "| when (UTC) | commit | load | rate | goal | p50 ms | p99 ms | broker CPU | client CPU |"
        " changed settings | machine | load average |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(row) for row in reversed(rows[-SHOWN_MAX:])]
    lines += _workers([json.loads(line) for line in workers.splitlines() if line])
    lines += _backlogs([json.loads(line) for line in backlogs.splitlines() if line])
    lines += _backups([json.loads(line) for line in backups.splitlines() if line])
    newest = {row["load"]: row for row in map(json.loads, shares.splitlines())}
    for row in newest.values():
        lines += ["", f"## Where the broker's time goes: {row['load']}", ""]
        lines += [f"Commit {row['commit']}.", "", "| | share |", "|---|---|"]
        ordered = sorted(row["shares"].items(), key=lambda pair: -pair[1])
        lines += [f"| {name} | {share:.1%} |" for name, share in ordered]
    return "\n".join(lines) + "\n"


def _workers(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "## Workers",
        "",
        "`python -m bench.workers`: no-op tasks per second of a worker with two slots, in turns."
        " Ours against three nodes that",
        "sync to disk, the others against one Redis that keeps nothing. CPU is that of each task,"
        " in the worker and in the brokers.",
        "",
        "| when (UTC) | commit | worker | tasks/s | of the best else | worker CPU | broker CPU |"
        " machine | load average |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in reversed(rows[-SHOWN_MAX:]):
        rates = {one["worker"]: one["rate"] for one in row["workers"]}
        for one in row["workers"]:
            best = max((rate for name, rate in rates.items() if name != one["worker"]), default=0)
            cells = [
                *(row["when"], row["commit"], f"{one['worker']} {one['version']}"),
                f"{one['rate']:,.0f} ({one['rate_min']:,.0f}-{one['rate_max']:,.0f})",
                f"{one['rate'] / best:.2f} x" if best else "",
                *(f"{one['worker_us']:,.0f} us", f"{one['broker_us']:,.0f} us"),
                *(row["machine"], row["load_average"]),
            ]
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return lines if rows else []


# Goals for memory in MiB, by (tasks, bytes of payload).
_MEMORY_GOALS = {(1_000_000, 1024): 200, (10_000_000, 100): 300}


def _backlogs(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [
        "",
        "## Long backlogs",
        "",
        "`python -m bench.backlog`. Memory is `RssAnon` in MiB of the node that has most; claims"
        " are those of batches of 100,",
        "with completions, in turns from the backlog and from a queue without one. Goals: memory at"
        " most 200 MiB with",
        "1,000,000 tasks of 1 KiB and 300 MiB with 10,000,000 of 100 B (hard limit: of a control"
        " group, page cache included); serving 5 s after the start of killed nodes;",
        "claims at least 0.75 x as fast. Submits are those of a client while tasks fall due.",
        "",
        "| when (UTC) | commit | tasks | queues | nodes | filled/s | idle | filling | falling due |"
        " at rest | claiming | restarted | goal | hard limit | claims/s short | backlog | ratio |"
        " restart s | due within | last ready late | submit p50, p99, max ms | machine |"
        " load average |",
        "|" + "---|" * 23,
    ]
    return lines + [_backlog(row) for row in reversed(rows[-SHOWN_MAX:])]


def _backlog(row: dict[str, Any]) -> str:
    due = row["due_within"]
    submits = [f"{row[f'submit_{name}_ms']:.1f}" for name in ("p50", "p99", "max")] if due else []
    cells = [
        *(row["when"], row["commit"], f"{row['tasks']:,} of {row['size']:,} B", row["queues"]),
        *(row["nodes"], f"{row['filled_per_sec']:,}", f"{row['memory_idle']:.0f}"),
        *(f"{row['memory_filling']:.0f}", f"{row['memory_due']:.0f}" if due else ""),
        *(f"{row[f'memory_{name}']:.0f}" for name in ("at_rest", "claiming", "restarted")),
        *(_MEMORY_GOALS.get((row["tasks"], row["size"]), ""), row.get("memory_max") or ""),
        *(f"{row['claims_short']:,}", f"{row['claims_backlog']:,}", f"{row['claims_ratio']:.2f}"),
        f"{row['restart_secs']:.1f}",
        *((f"{due} s", f"{row['ready_late_secs']:.1f} s") if due else ("", "")),
        *(", ".join(submits), row["machine"], row["load_average"]),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _backups(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "## Backups",
        "",
        "`python -m bench.backup`. The longest time in ms between two acknowledgements to a client"
        " that submits one task at a time:",
        "in 10 s without a backup, during one of a follower, and of the leader. Memory in MiB: what"
        " the node that has most gained, and",
        "the commands had. Serving: from the start of the restored node to its first answer.",
        "",
        "| when (UTC) | commit | tasks | nodes | file MiB | gap without | follower s | gap |"
        " leader s | gap | node gained | create had | verify s | had | restore s | had |"
        " serving s | machine | load average |",
        "|" + "---|" * 19,
    ]
    return lines + [_backup(row) for row in reversed(rows[-SHOWN_MAX:])] if rows else []


def _backup(row: dict[str, Any]) -> str:
    cells = [
        *(row["when"], row["commit"], f"{row['tasks']:,} of {row['size']:,} B", row["nodes"]),
        *(f"{row['file_size'] / 2**20:.0f}", f"{row['quiet_gap_ms']:.0f}"),
        *(row["follower_secs"], f"{row['follower_gap_ms']:.0f}"),
        *(row["leader_secs"], f"{row['leader_gap_ms']:.0f}"),
        f"{max(row['follower_memory'], row['leader_memory']):.0f}",
        f"{max(row['follower_command_memory'], row['leader_command_memory']):.0f}",
        *(row["verify_secs"], f"{row['verify_memory']:.0f}"),
        *(row["restore_secs"], f"{row['restore_memory']:.0f}", row["serving_secs"]),
        *(row["machine"], row["load_average"]),
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


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
