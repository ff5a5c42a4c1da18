"""Small pictures in text: curves, bars, and rows of columns with equal widths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from taskq.cli.quantity import count_text
from taskq.visible import visible

BAR_SIZE = 10

_BLOCKS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"

Cell = Text | str


class Column(NamedTuple):
    """A column of rows. `size` 0: what the others leave."""

    title: str
    size: int
    left: bool = False


def curve(values: Sequence[float], count: int) -> str:
    """The last `count` values as blocks, the largest of them full; nothing where all are 0."""
    last = list(values)[-count:]
    most = max(last, default=0.0)
    if most <= 0:
        return ""
    full = len(_BLOCKS) - 1
    return "".join(_BLOCKS[max(1, round(one / most * full)) if one else 0] for one in last)


def bar(share: float) -> str:
    """A bar of `BAR_SIZE` columns, full for 1 or more; some of it is seen for any share."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR_SIZE * 8)
    if share > 0:
        eighths = max(eighths, 1)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(BAR_SIZE)


def short(count: int) -> str:
    """At most six columns: 99,999 in full, then 100k, 1.2M."""
    if count < 100_000:
        return count_text(count)
    if count < 1_000_000:
        return f"{count // 1_000}k"
    sizes = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"))
    size, unit = next((size, unit) for size, unit in sizes if count >= size)
    return f"{count / size:.1f}{unit}" if count < 100 * size else f"{count // size}{unit}"


def rows_of(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int, room: int
) -> list[Text]:
    """A line of titles and one for each row, `room` of these at most: where there are more rows,
    the last line says how many. Two blanks before each column; a cell that is too long is cut."""
    shown = rows if len(rows) <= room else rows[: max(0, room - 1)]
    taken = sum(column.size for column in columns) + 2 * len(columns)
    sizes = [column.size or max(8, width - taken) for column in columns]
    titles = [Text(column.title, style="bold") for column in columns]
    lines = [_line(columns, sizes, row) for row in (titles, *shown)]
    if len(shown) < len(rows):
        lines.append(Text(f"  and {count_text(len(rows) - len(shown))} more", style="dim"))
    return lines


def _line(columns: Sequence[Column], sizes: Sequence[int], cells: Sequence[Cell]) -> Text:
    line = Text()
    for column, size, given in zip(columns, sizes, cells, strict=True):
        # Text, not markup: a queue may be called [red].
        cell = given.copy() if isinstance(given, Text) else Text(visible(given))
        cell.truncate(size, overflow="ellipsis")
        blanks = " " * (size - cell.cell_len)
        line.append("  ")
        line.append_text(cell if column.left else Text(blanks)).append_text(
            Text(blanks) if column.left else cell
        )
    line.rstrip()
    return line
