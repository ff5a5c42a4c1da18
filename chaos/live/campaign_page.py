"""The part of chaos/RESULTS.md about campaigns: what each fault cost, in each form. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

# Beside our rows of these faults (words of their names), what a published test found elsewhere.
ELSEWHERE = {
    "power": "Jepsen, NATS 2.12.1: 131,418 of 930,005 acknowledged writes lost in a coordinated"
    " power failure",
    "flip": "Jepsen, NATS 2.12.1: half of all writes lost to one flipped bit on one of five nodes",
}
# (title, what is in it): a strike stands in the first that it fits.
GROUPS = (
    ("Planned: nothing breaks, no request may fail", "planned"),
    ("Silent: members that hang or cannot be heard; an election takes its time-out", "silent"),
    ("Crashed, damaged, slow", ""),
)
# What a strike may cost, in ms.
GOALS = {
    ("kill", "leader"): "p50 150, p99 500",
    ("kill", "follower"): "max 50",
    ("pause", "leader"): "max 2000",
    ("transfer", "leader"): "max 100",
}
Row = Mapping[str, Any]


def page(content: str) -> list[str]:
    """Lines for the page, from the content of results/chaos.jsonl."""
    rows = [json.loads(line) for line in content.splitlines() if line]
    if not rows:
        return []
    strikes = [(row, strike) for row in rows for strike in row["strikes"]]
    lines = [*_head(rows, len(strikes))]
    for title, kind in GROUPS:
        chosen = [(row, strike) for row, strike in strikes if _kind(strike) == kind]
        if chosen:
            lines += ["", f"### {title}", "", *_table(chosen)]
    return [*lines, *_broken(rows)]


def _head(rows: Sequence[Row], strikes: int) -> list[str]:
    calls = sum(count for row in rows for each in row["calls"].values() for count in each.values())
    unknown = sum(each.get("unknown", 0) for row in rows for each in row["calls"].values())
    tasks = sum(sum(row["tasks"].values()) for row in rows)
    minutes = sum(row["wall_secs"] for row in rows) / 60
    links = "; ".join(sorted({f"{row['form']}: {row['links']}" for row in rows if row["links"]}))
    undecided = sum(row["undecided"] for row in rows)
    machines = "; ".join(sorted({row["machine"] for row in rows}))
    return [
        "",
        "## Campaigns: every fault, in every form",
        "",
        "`make chaos MINUTES=n` (`python -m chaos.live`): rounds of some minutes, each a new"
        " cluster under load (producers,",
        "workers that complete, fail, stall and vanish, cancellers, watchers; some calls give up"
        " early) and a probe that submits",
        "every 10 ms, struck by one fault after the other from a seed; at the end everything is"
        " read from every node, judged by",
        "the rules of `chaos/checkers`, and the nodes are compared, byte for byte.",
        "",
        f"So far: rounds {len(rows):,}, {minutes:,.0f} minutes, {strikes:,} strikes,"
        f" {calls:,} calls ({unknown:,} of unknown outcome), {tasks:,} tasks,",
        f"{_total(rows, 'lost'):,} lost, {_total(rows, 'doubled'):,} doubled,"
        f" {sum(bool(row['rules']) for row in rows)} rounds with a broken promise,"
        f" {undecided} tasks undecided; on {machines}.",
        f"Links are harmed by: {links or 'no campaign yet'}.",
        "",
        "Without service: the longest time between acknowledged probes, from the fault until it is"
        " mended where the others are",
        "a majority and there was service without those that were harmed (in how many of the"
        " strikes: column 6), else until it",
        "has come back and stayed. Back: from the mending to the next acknowledgement. Whole: until"
        " all nodes were as before.",
        "p50 / p99 / max. Lost, doubled and other broken promises are of the rounds in which the"
        " fault struck.",
    ]


def _kind(strike: Row) -> str:
    return "planned" if strike["planned"] else "silent" if strike["silent"] else ""


def _table(strikes: Iterable[tuple[Row, Row]]) -> list[str]:
    groups: dict[tuple[str, str, str], list[tuple[Row, Row]]] = defaultdict(list)
    for row, strike in strikes:
        groups[strike["fault"], strike["target"], _form(row)].append((row, strike))
    head = [
        *("fault", "target", "form, nodes", "strikes", "lost", "doubled", "others went on"),
        *(
            "without service ms",
            "goal ms",
            "back ms",
            "whole s",
            "other broken promises",
            "commits",
        ),
        "elsewhere",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + [_line(*key, groups[key]) for key in sorted(groups)]


def _form(row: Row) -> str:
    return f"{row['form']}, {row['nodes']}"


def _line(fault: str, target: str, form: str, found: Sequence[tuple[Row, Row]]) -> str:
    rounds = list({id(row): row for row, _ in found}.values())
    strikes = [strike for _, strike in found]
    others = sum(sum(row["rules"].values()) - row["lost"] - row["doubled"] for row in rounds)
    cells = [
        *(fault, target, form, str(len(strikes))),
        *(str(_total(rounds, "lost")), str(_total(rounds, "doubled"))),
        f"{sum(one['without'] for one in strikes)}",
        _spread([one["gap"] for one in strikes], 1000),
        GOALS.get((fault, target), ""),
        _spread([one["back"] for one in strikes], 1000),
        *(_spread([one["whole"] for one in strikes]), str(others), _commits(rounds)),
        "; ".join(told for word, told in ELSEWHERE.items() if word in fault),
    ]
    return "| " + " | ".join(cells) + " |"


def _total(rows: Iterable[Row], name: str) -> int:
    return sum(row[name] for row in rows)


def _spread(values: Iterable[float | None], unit: int = 0) -> str:
    """p50 / p99 / max; of what nobody can tell (None) the number only."""
    told = sorted(value for value in values if value is not None)
    if not told:
        return ""
    numbers = (median(told), told[min(len(told) - 1, int(len(told) * 0.99))], told[-1])
    return " / ".join(f"{value * unit:.0f}" if unit else f"{value:.1f}" for value in numbers)


def _commits(rows: Sequence[Row]) -> str:
    found = list(dict.fromkeys(row["commit"] for row in rows))
    return found[0] if len(found) == 1 else f"{found[0]} .. {found[-1]} ({len(found)})"


def _broken(rows: Iterable[Row]) -> list[str]:
    """The rounds in which a promise was broken, newest first."""
    broken = [row for row in rows if row["rules"]]
    if not broken:
        return []
    lines = [
        *("", "### Rounds in which a promise was broken", ""),
        "| when (UTC) | commit | form, nodes | seed | what struck, the last at the end | rules |"
        " the first violation |",
        "|" + "---|" * 7,
    ]
    for row in reversed(broken):
        rules = ", ".join(f"{rule} {count}" for rule, count in sorted(row["rules"].items()))
        first = row["first_violations"][0].replace("|", "/").replace("\n", " ")[:200]
        cells = [row["when"], row["commit"], _form(row), str(row["seed"])]
        cells += [", ".join(row["struck"][-3:]), rules, first]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
