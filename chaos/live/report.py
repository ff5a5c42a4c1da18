"""A campaign as a page to look at: one file of HTML that needs nothing else."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from chaos.live.chart import Band, Line, over_time, strips
from chaos.live.timeline import Timeline

HERE = Path(__file__).parent
REPORTS = HERE.parent / "reports"
STYLE = HERE / "report.css"
SILENT, CRASHED, PLANNED = 3, 1, 2  # styles of the marks
# Longer ones would run over those of the next fault.
LABEL_COUNT_MAX = 24
IN_FORM = {
    "processes": "as processes",
    "namespaces": "as processes, each in a network namespace of its own",
    "containers": "in containers",
}
Row = Mapping[str, Any]


class Told(NamedTuple):
    """A round: its line of the results, and what it looked like."""

    row: Row
    timeline: Timeline


def write(rounds: Sequence[Told], folder: Path) -> Path:
    """Writes the page for these rounds to a new file of `folder`; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.html"
    path.write_text(render(rounds), "utf-8")
    return path


def render(rounds: Sequence[Told]) -> str:
    """The page."""
    rows = [one.row for one in rounds]
    first = rows[0]
    strikes = sum(len(row["strikes"]) for row in rows)
    parts = [
        f"<h1>{strikes} strikes on {first['nodes']} nodes {IN_FORM[first['form']]}</h1>",
        f"<p>{escape(first['when'])} UTC, commit {escape(first['commit'])},"
        f" {escape(first['machine'])}.</p>",
        tiles(_numbers(rows)),
        *_violations(rows),
        "<h2>Time without service</h2>",
        "<p>The longest time between two acknowledged probes, one of which is sent every 10 ms."
        " A mark for each strike, a bar at the median.</p>",
        _legend(),
        f'<div class="card">{_gaps(rows)}</div>',
        *(part for one in rounds for part in _round(one)),
        "<h2>The account</h2>",
        "<p>Every request of every client, by its outcome, and what became of the tasks.</p>",
        f'<div class="card">{_account(rows)}</div>',
        *_settings(rows),
    ]
    return document("Chaos", parts)


def document(title: str, parts: Iterable[str]) -> str:
    """A page of its own, with these parts."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text('utf-8')}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def tiles(numbers: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: (number, what it is, class)."""
    each = (
        f'<div class="tile {kind}"><b>{escape(number)}</b><span>{escape(what)}</span></div>'
        for number, what, kind in numbers
    )
    return f'<div class="tiles">{"".join(each)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns after the first are numbers."""

    def cells(kind: str, row: Sequence[str]) -> str:
        first, *others = row
        told = "".join(f'<{kind} class="n">{escape(cell)}</{kind}>' for cell in others)
        return f"<tr><{kind}>{escape(first)}</{kind}>{told}</tr>"

    return f"<table>{cells('th', head)}{''.join(cells('td', row) for row in rows)}</table>"


def judged(count: int, what: str) -> tuple[str, str, str]:
    """A tile for something of which there is to be none."""
    return f"{count:,}", what, "bad" if count else "good"


def _numbers(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    calls = _outcomes(rows)
    acknowledged = calls["submit"]["ok"]
    return [
        judged(sum(row["lost"] for row in rows), "lost"),
        judged(sum(row["doubled"] for row in rows), "doubled"),
        judged(sum(sum(row["rules"].values()) for row in rows), "broken promises"),
        (f"{acknowledged:,}", "submits acknowledged", ""),
        (f"{sum(each.total() for each in calls.values()):,}", "calls", ""),
        (f"{sum(each['unknown'] for each in calls.values()):,}", "of unknown outcome", ""),
        judged(sum(row["undecided"] for row in rows), "tasks undecided"),
    ]


def _violations(rows: Sequence[Row]) -> list[str]:
    lines = [
        f"<li>seed {row['seed']}: {escape(line)}</li>"
        for row in rows
        for line in row["first_violations"]
    ]
    if not lines:
        return []
    return ['<h2 class="bad">Broken promises</h2>', f'<ul class="card">{"".join(lines)}</ul>']


def _legend() -> str:
    kinds = ((CRASHED, "crashed, damaged, slow"), (SILENT, "silent"), (PLANNED, "planned"))
    items = (f'<span><i class="s{style}"></i>{escape(what)}</span>' for style, what in kinds)
    return f'<p class="legend">{"".join(items)}</p>'


def _gaps(rows: Sequence[Row]) -> str:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for strike in row["strikes"]:
            groups[strike["fault"], strike["target"]].append({**strike, "seed": row["seed"]})
    return strips(
        (
            (
                f"{fault} @ {target}",
                style_of(found[0]),
                [
                    (one["gap"] * 1000, f"{one['gap'] * 1000:.0f} ms, {_told(one)}")
                    for one in found
                    if one["gap"] is not None
                ],
            )
            for (fault, target), found in sorted(groups.items(), key=_place)
        ),
        "ms",
    )


def _place(group: tuple[tuple[str, str], Sequence[Row]]) -> tuple[int, tuple[str, str]]:
    """Those of a kind together, by name."""
    return style_of(group[1][0]), group[0]


def style_of(strike: Row) -> int:
    """The style of the mark of a strike."""
    return PLANNED if strike["planned"] else SILENT if strike["silent"] else CRASHED


def _told(strike: Row) -> str:
    return (
        f"{strike['fault']} @ {strike['target']} ({', '.join(strike['nodes'])}), seed"
        f" {strike['seed']}, {strike['at']:.1f} s"
    )


def _round(told: Told) -> list[str]:
    row, timeline = told
    secs = max((len(each) for each in timeline.rates.values()), default=1)
    bands = [band({**one, "seed": row["seed"]}, secs) for one in row["strikes"]]
    names = {"submit": "submitted", "claim": "claimed", "complete": "completed"}
    rates = [
        Line(names[kind], [(at + 0.5, rate) for at, rate in enumerate(each)], style)
        for style, (kind, each) in enumerate(timeline.rates.items())
    ]
    waits = [
        Line("longest", [(at + 0.5, most * 1000) for at, _, most in timeline.latency], 1),
        Line("p50", [(at + 0.5, half * 1000) for at, half, _ in timeline.latency], 0),
    ]
    return [
        f"<h2>Seed {row['seed']}, second by second</h2>",
        "<p>Shaded: from the fault until all nodes were as before; darker while the harm lasted."
        "</p>",
        '<div class="card">',
        "<h3>Tasks per second</h3>",
        over_time(rates, "tasks/s", secs, bands, labels=True),
        "<h3>Latency of a submit</h3>",
        over_time(waits, "ms", secs, bands, log=True),
        "</div>",
    ]


def band(strike: Row, secs: float) -> Band:
    """The shaded part of a strike, in a chart of so many seconds; of one without an end up to
    there."""
    label = f"{strike['fault']} @ {strike['target']}"
    if len(label) > LABEL_COUNT_MAX:
        label = label[: LABEL_COUNT_MAX - 1] + "…"
    at = strike["at"]
    mended, whole = (
        max(at, secs) if after is None else at + after
        for after in (strike["lasted"], strike["whole"])
    )
    return Band(at, mended, whole, label, _told(strike))


def _outcomes(rows: Sequence[Row]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for kind, each in row["calls"].items():
            found[kind].update(each)
    return found


def _account(rows: Sequence[Row]) -> str:
    calls = _outcomes(rows)
    lines = []
    for kind, each in sorted(calls.items()):
        refused = each.total() - each["ok"] - each["unknown"] - each["open"]
        codes = sorted(set(each) - {"ok", "unknown", "open"})
        numbers = [each.total(), each["ok"], refused, each["unknown"]]
        lines.append([kind, *(f"{number:,}" for number in numbers), ", ".join(codes)])
    states: Counter[str] = Counter()
    for row in rows:
        states.update(row["tasks"])
    ends = [[state, f"{count:,}"] for state, count in states.items() if count]
    ends.append(["together", f"{states.total():,}"])
    head = ["call", "asked", "acknowledged", "refused", "unknown", "refusals"]
    return table(head, lines) + "<h3>Tasks at the end</h3>" + table(["state", "tasks"], ends)


def _settings(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        words = [*("python", "-m", "chaos.live", "--form", row["form"])]
        words += [*("--nodes", str(row["nodes"]), "--seed", str(row["seed"]))]
        words += ["--strikes", "; ".join(row["struck"])]
        settings = ", ".join(f"{key}={value}" for key, value in row["settings"].items())
        links = f", links: {row['links']}" if row["links"] else ""
        lines.append(
            f"<p>Seed {row['seed']}: {escape(settings)}{escape(links)}; load average"
            f" {'-'.join(str(one) for one in row['load_average'])}; {row['wall_secs']:.0f} s,"
            f" judged in {row['judge_secs']:.0f} s. Once more:<br>"
            f"<code>{escape(shlex.join(words))}</code></p>"
        )
    return ["<h2>Settings</h2>", f'<div class="card">{"".join(lines)}</div>']
