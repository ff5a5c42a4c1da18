"""Charts as SVG that stands in a page: colours are the page's, light or dark. Pure.

Classes: `s0` .. `s4` are series, `grid`, `tick`, `band`; the style sheet of the page gives them
colours. Each mark has a title, which browsers show beside the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

WIDTH = 1080
LEFT, RIGHT, BOTTOM = 64, 16, 26
# Above the plot: slanted labels of bands.
LABELS_HEIGHT = 98
TICKS_COUNT = 5


class Line(NamedTuple):
    """A series: points in the order of x; its style is class `s<style>`."""

    label: str
    points: Sequence[tuple[float, float]]
    style: int = 0


class Band(NamedTuple):
    """A shaded part of the x axis; the darker part up to `until`, the rest up to `end`."""

    start: float
    until: float
    end: float
    label: str
    title: str


@dataclass
class Scale:
    """From values to pixels; with `log` by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    ticks: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.ticks = decades(self.low, self.high) if self.log else rounded(self.low, self.high)

    def __call__(self, value: float) -> float:
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def rounded(low: float, high: float) -> list[float]:
    """About five round numbers from low to high."""
    raw = (high - low) / TICKS_COUNT
    size = 10 ** math.floor(math.log10(raw))
    step = next(step * size for step in (1, 2, 2.5, 5, 10) if step * size >= raw)
    first = math.ceil(low / step)
    return [round(step * place, 10) for place in range(first, int(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from low to high."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def over_time(
    lines: Sequence[Line],
    unit: str,
    secs: float,
    bands: Sequence[Band] = (),
    *,
    height: int = 200,
    log: bool = False,
    labels: bool = False,
) -> str:
    """Series over seconds, with shaded bands; `labels`: of the bands, above the plot. With `log`
    from 1 `unit` on."""
    top = LABELS_HEIGHT if labels else 22
    most = max((value for line in lines for _, value in line.points), default=0.0)
    high = 10.0 ** math.ceil(math.log10(max(most, 10.0))) if log else max(most * 1.08, 1e-9)
    x = Scale(0, max(secs, 1.0), LEFT, WIDTH - RIGHT)
    y = Scale(1.0 if log else 0.0, high, top + height, top, log)
    parts = [_band(band, x, top, height, labels=labels) for band in bands]
    parts += _grid(x, y, unit, top, height)
    for line in lines:
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line.points)
        parts.append(f'<polyline class="line s{line.style}" points="{path}"/>')
    return _legend(lines) + _svg(parts, top + height + BOTTOM)


def _band(band: Band, x: Scale, top: int, height: int, *, labels: bool) -> str:
    title = f"<title>{escape(band.title)}</title>"
    parts = [
        f'<rect class="band {kind}" x="{x(start):.1f}" y="{top}" height="{height}"'
        f' width="{max(x(end) - x(start), 1.0):.1f}">{title}</rect>'
        for kind, start, end in (("", band.start, band.end), ("hard", band.start, band.until))
    ]
    if labels:
        at = f"{x(band.start) + 3:.1f} {top - 6}"
        parts.append(
            f'<text class="label" transform="translate({at}) rotate(-36)">'
            f"{escape(band.label)}{title}</text>"
        )
    return "".join(parts)


def _grid(x: Scale, y: Scale, unit: str, top: int, height: int) -> list[str]:
    parts = []
    for value in y.ticks:
        at = f"{y(value):.1f}"
        parts.append(f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick end" x="{x.start - 8}" y="{at}">{shown(value)}</text>')
    parts.append(f'<text class="tick end" x="{x.start - 8}" y="{top - 10}">{escape(unit)}</text>')
    for value in x.ticks:
        text = f"{value:g} s" if value else "0"
        parts.append(
            f'<text class="tick mid" x="{x(value):.1f}" y="{top + height + 16}">{text}</text>'
        )
    return parts


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    items = (f'<span><i class="s{one.style}"></i>{escape(one.label)}</span>' for one in lines)
    return f'<p class="legend">{"".join(items)}</p>'


def strips(rows: Iterable[tuple[str, int, Sequence[tuple[float, str]]]], unit: str) -> str:
    """A row for each (label, style, points), a mark for each point (value, title) on a common axis
    by the logarithm, from 1 `unit` on, and a bar at the median."""
    found = list(rows)
    left, row_height, top = 300, 26, 8
    bottom = top + row_height * len(found)
    most = max((value for _, _, points in found for value, _ in points), default=10.0)
    x = Scale(1.0, 10.0 ** math.ceil(math.log10(max(most, 10.0))), left, WIDTH - RIGHT, log=True)
    parts = []
    for value in x.ticks:
        at = f"{x(value):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>')
        text = f"{shown(value)} {escape(unit)}"
        side = "end" if value == x.high else "mid"
        parts.append(f'<text class="tick {side}" x="{at}" y="{bottom + 16}">{text}</text>')
    for place, (label, style, points) in enumerate(found):
        y = top + row_height * (place + 0.5)
        count = f'<tspan class="count">  {len(points)}</tspan>'
        parts.append(
            f'<text class="name end" x="{left - 10}" y="{y + 4:.1f}">{escape(label)}{count}</text>'
        )
        for value, title in points:
            told = f"<title>{escape(title)}</title>"
            parts.append(
                f'<circle class="dot s{style}" cx="{x(value):.1f}" cy="{y:.1f}" r="4">{told}'
                "</circle>"
            )
        if len(points) > 2:
            middle = x(sorted(value for value, _ in points)[len(points) // 2])
            parts.append(
                f'<line class="median" x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 9:.1f}"'
                f' y2="{y + 9:.1f}"/>'
            )
    return _svg(parts, bottom + BOTTOM)


def shown(value: float) -> str:
    """A number for a tick: 1,200, 0.5, 3M."""
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


def _svg(parts: Iterable[str], height: float) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" preserveAspectRatio="xMinYMin">'
        f"{''.join(parts)}</svg>"
    )
