"""A soak as a page to look at: one file of HTML that needs nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from chaos.live.bounded import GAUGES, GROWTH_MAX
from chaos.live.chart import Band, Line, over_time, strips
from chaos.live.report import document, judged, style_of, table, tiles

if TYPE_CHECKING:
    from chaos.live.soak import Soak

# Latencies are drawn for so many seconds together.
STEP_SECS = 5.0


def write(soak: Soak, row: Mapping[str, Any], folder: Path) -> Path:
    """Writes the page to a new file of `folder`; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}-soak.html"
    path.write_text(render(soak, row), "utf-8")
    return path


def render(soak: Soak, row: Mapping[str, Any]) -> str:
    """The page."""
    bands, secs = _bands(soak), max(soak.sampled, default=1.0)
    minutes = f"{soak.load_secs / 60:.0f} minutes"
    lines = "".join(f"<li>{escape(one)}</li>" for one in soak.violations[:50])
    wrong = ['<h2 class="bad">Broken promises</h2>', f'<ul class="card">{lines}</ul>']
    parts = [
        f"<h1>A soak of {minutes}, {len(soak.strikes)} strikes</h1>",
        f"<p>{row['when']} UTC, commit {row['commit']}, {escape(row['machine'])}."
        f" {row['rate']['wanted']:,} tasks/s wanted, of a peak of {row['rate']['peak']:,}"
        " in the same run, before the first fault.</p>",
        tiles(_numbers(soak, row)),
        *(wrong if soak.violations else []),
        "<h2>What a node uses</h2>",
        f"<p>Bounded: in the last third no more than {GROWTH_MAX:g} times the most of the middle"
        " third and a slack, and never more than the ceiling. Shaded: from a fault until all nodes"
        " were as before.</p>",
        *_gauges(soak, secs, bands),
        "<h2>Work</h2>",
        '<div class="card"><h3>Tasks per second</h3>',
        over_time(_rates(soak), "tasks/s", secs, bands),
        "<h3>Latency of a submit</h3>",
        over_time(_latencies(soak), "ms", secs, bands, log=True),
        "</div>",
        "<h2>Time without service</h2>",
        f'<div class="card">{_gaps(soak)}</div>',
        "<h2>Settings</h2>",
        '<div class="card"><code>'
        + escape(f"seed {soak.seed}, {soak.form}, {soak.nodes} nodes\n")
        + escape("\n".join(f"{key}: {value}" for key, value in soak.settings.items()))
        + "</code></div>",
    ]
    return document("Soak", parts)


def _numbers(soak: Soak, row: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        ("?", "lost", "bad") if row["lost"] is None else judged(row["lost"], "lost"),
        judged(row["doubled"], "doubled"),
        judged(row["violations"], "broken promises"),
        (f"{row['acknowledged']:,}", "acknowledged", ""),
        (f"{row['completed']:,}", "completed", ""),
        (f"{row['rate']['done']:,}", "per second", ""),
        (f"{row['unknown']:,}", "of unknown outcome", ""),
        (f"{sum(row['refused'].values()):,}", "refused", ""),
        (f"{row['left_out']:,}", "left out while too many waited", ""),
    ]


def _bands(soak: Soak) -> list[Band]:
    return [
        Band(
            *(one.at - soak.started, one.mended - soak.started, one.whole - soak.started),
            one.fault,
            f"{one.fault} @ {one.target}, whole after {one.whole - one.at:.1f} s",
        )
        for one in soak.strikes
    ]


def _gauges(soak: Soak, secs: float, bands: Sequence[Band]) -> Iterable[str]:
    for name, each in soak.samples.items():
        gauge = GAUGES[name]
        lines = [
            Line(node, [(at, one / gauge.unit) for at, one in zip(soak.sampled, values)], style)  # noqa: B905
            for style, (node, values) in enumerate(each.items())
        ]
        uses = soak.uses.get(name, {})
        head = ["node", "most", "middle third", "last third", "ceiling"]
        rows = [
            [node, *(f"{one / gauge.unit:,.0f}" for one in (*use, gauge.ceiling))]
            for node, use in uses.items()
        ]
        yield f'<div class="card"><h3>{escape(gauge.title)}</h3>'
        yield over_time(lines, "", secs, bands, height=150)
        yield table(head, rows) if rows else ""
        yield "</div>"


def _rates(soak: Soak) -> list[Line]:
    found: list[Line] = []
    for style, (label, place) in enumerate((("acknowledged", 1), ("completed", 2))):
        points = [
            (new[0], (new[place] - old[place]) / (new[0] - old[0]))
            for old, new in pairwise(soak.done)
            if new[0] > old[0]
        ]
        found.append(Line(label, points, style))
    return found


def _latencies(soak: Soak) -> list[Line]:
    groups: dict[int, list[float]] = defaultdict(list)
    for begun, secs in soak.latencies:
        groups[int((begun - soak.started) / STEP_SECS)].append(secs * 1000)
    longest = [((at + 0.5) * STEP_SECS, max(each)) for at, each in sorted(groups.items())]
    middle = [((at + 0.5) * STEP_SECS, median(each)) for at, each in sorted(groups.items())]
    return [Line("longest", longest, 1), Line("p50", middle, 0)]


def _gaps(soak: Soak) -> str:
    groups: dict[tuple[int, str], list[tuple[float, str]]] = defaultdict(list)
    for one in soak.strikes:
        ms = one.gap(soak.acks) * 1000
        style = style_of({"planned": one.planned, "silent": one.silent})
        if ms < float("inf"):
            told = f"{ms:.0f} ms, {', '.join(one.nodes)}"
            groups[style, f"{one.fault} @ {one.target}"].append((ms, told))
    return strips(((label, style, each) for (style, label), each in sorted(groups.items())), "ms")
