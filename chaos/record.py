"""Results, kept: one line of JSON per run, and the page made of all of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from chaos.live import campaign_page, cluster_page, soak_page, stock_page, upgrade_page
from chaos.sim import page as sim_page

if TYPE_CHECKING:
    from chaos.live.kill import Run
    from chaos.sim.seed import Outcome

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE / "RESULTS.md"


def summary(run: Run) -> dict[str, Any]:
    """One line about a run of kills. Times in seconds; `in_flight`: unanswered writes at each
    kill of a serving node."""
    history = run.history
    served = [kill for kill in history.kills if kill.served]
    starts = [kill for kill in history.kills if kill.first_reply_secs is not None]
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "seed": run.seed,
        "rounds": run.rounds,
        "wall_secs": round(run.wall_secs, 1),
        "kills": dict(Counter(kill.phase for kill in history.kills)),
        "in_flight": [kill.writes_in_flight for kill in served],
        "calls": _outcomes(run),
        "tasks": dict(history.final.states) if history.final else {},
        "serving_secs": spread(kill.serving_secs or 0.0 for kill in starts),
        "first_reply_secs": spread(kill.first_reply_secs or 0.0 for kill in starts),
        "violations": len(run.violations),
        "first_violations": run.violations[:5],
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
    }


def _outcomes(run: Run) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for call in run.history.calls:
        counts.setdefault(call.kind, Counter())[call.code or call.outcome] += 1
    return {kind: dict(sorted(counter.items())) for kind, counter in sorted(counts.items())}


def sim_summary(outcomes: Sequence[Outcome], seeds: range, wall_secs: float) -> dict[str, Any]:
    """One line about simulated seeds, of which `outcomes` were run. Times in seconds; `broken`:
    the seeds in which a promise was broken, and how."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "seeds": [seeds.start, seeds.stop],
        "run": len(outcomes),
        "nodes": dict(sorted(Counter(str(one.nodes) for one in outcomes).items())),
        "wall_secs": round(wall_secs, 1),
        "cpu_secs": round(sum(one.cpu_secs for one in outcomes), 1),
        "virtual_secs": round(sum(one.virtual_secs for one in outcomes)),
        "counts": dict(sorted(counts.items())),
        "broken": {str(one.seed): one.broken[:300] for one in outcomes if one.broken},
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum."""
    found = sorted(values)
    if not found:
        return {}
    at = min(len(found) - 1, int(len(found) * 0.99))
    numbers = {"p50": median(found), "p99": found[at], "max": found[-1]}
    return {name: round(value, 3) for name, value in numbers.items()}


def commit() -> str:
    """The commit that was tried, with `+` where the tree differs from it."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", "taskq", "cluster") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def append(name: str, row: Mapping[str, Any]) -> None:
    """Adds a line to results/`name`.jsonl and makes the page anew."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")
    PAGE.write_text(page(results()))


def rows(name: str) -> list[dict[str, Any]]:
    """The lines of results/`name`.jsonl, oldest first; none where there is no such file."""
    return [json.loads(line) for line in results().get(name, "").splitlines() if line]


def results() -> dict[str, str]:
    """The content of each file of results, by name."""
    return {path.stem: path.read_text() for path in sorted(RESULTS.glob("*.jsonl"))}


def page(found: Mapping[str, str]) -> str:
    """The page for the content of the files."""
    lines = [
        "# What was tried on running nodes and in simulation",
        "",
        "Generated from `results/*.jsonl` by the experiments themselves; not typed.",
        *campaign_page.page(found.get("chaos", "")),
        *stock_page.page(found.get("stock", "")),
        *soak_page.page(found.get("soak", "")),
        *upgrade_page.page(found.get("upgrade", "")),
        "",
        "## A node killed under load",
        "",
        "`python -m chaos.live.kill`: SIGKILL while requests are unanswered, restart on the same"
        " folder, clients",
        "never pause. Every acknowledged request is accounted for at the end. Times from the start"
        " of the process",
        "(Python's own included) to the first accepted request.",
        "",
        "| when (UTC) | commit | seed | kills serving + starting | unanswered writes at a kill |"
        " calls | unknown | tasks | first request p50 / p99 / max s | broken promises | machine |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows = [json.loads(line) for line in found.get("kill", "").splitlines() if line]
    lines += [_row(row) for row in reversed(rows)]
    lines += cluster_page.page(found)
    lines += sim_page.page(found.get("sim", ""))
    return "\n".join(lines) + "\n"


def _row(row: Mapping[str, Any]) -> str:
    in_flight = row["in_flight"]
    calls = sum(sum(counts.values()) for counts in row["calls"].values())
    unknown = sum(counts.get("unknown", 0) for counts in row["calls"].values())
    first = row["first_reply_secs"]
    cells = [
        *(row["when"], row["commit"], str(row["seed"])),
        f"{len(in_flight)} + {sum(row['kills'].values()) - len(in_flight)}",
        f"{min(in_flight, default=0)}-{max(in_flight, default=0)}",
        *(f"{calls:,}", f"{unknown:,}", f"{sum(row['tasks'].values()):,}"),
        " / ".join(f"{first.get(name, 0):.2f}" for name in ("p50", "p99", "max")),
        *(str(row["violations"]), row["machine"]),
    ]
    return "| " + " | ".join(cells) + " |"
