"""Tables that fit the terminal: what matters least is left out before anything is cut to pieces.

Rich shares out the width of what it is given; which columns it is given is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from taskq.cli.output import console
from taskq.visible import visible

# Cells of a column that is folded get at least so much room, where they need it.
FOLD_SIZE_MIN = 16
# Blanks between two columns, and at both ends.
_GAP_SIZE = 2
_EDGE_SIZE = 2


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    numbers: Sequence[str] = (),
    keep: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> Table:
    """A table as wide as the terminal at most.

    Columns in `numbers` are aligned right; neither they nor those in `keep` are ever folded: a
    terminal that is too narrow for them wraps the lines by itself. Those in `spare` are left out
    where there is no room, in this order, which the caption then says; empty ones before all.
    """
    cells = [[_text(cell) for cell in row] for row in rows]
    firm = {*numbers, *keep}
    needs = [
        _needed(name, [row[place] for row in cells], name in firm)
        for place, name in enumerate(columns)
    ]
    width = console().width
    chosen, missed = _chosen(columns, cells, needs, spare, width)
    drawn = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left", caption_style="dim",
    )  # fmt: skip
    if missed:
        drawn.caption = Text(f" No room for {', '.join(missed)}.")
    for place in chosen:
        name = columns[place]
        drawn.add_column(
            name,
            justify="right" if name in numbers else "left",
            no_wrap=name in firm,
            min_width=needs[place],
            overflow="fold",
        )
    for row in cells:
        drawn.add_row(*(row[place] for place in chosen))
    needed = _width([needs[place] for place in chosen])
    if needed > width:
        drawn.width = needed
    return drawn


def _text(cell: Any) -> Text:
    """Text, not markup: a queue may be called [red]. As wide as it is shown."""
    return cell if isinstance(cell, Text) else Text(visible(str(cell)))


def _needed(name: str, cells: Sequence[Text], firm: bool) -> int:
    """Columns of the terminal without which a column of the table is no good."""
    size = max((cell.cell_len for cell in cells), default=0)
    if not firm:
        size = min(size, FOLD_SIZE_MIN)
    return max(size, cell_len(name))


def _width(needs: Sequence[int]) -> int:
    return sum(needs) + _GAP_SIZE * (len(needs) - 1) + _EDGE_SIZE


def _chosen(
    columns: Sequence[str],
    cells: Sequence[Sequence[Text]],
    needs: Sequence[int],
    spare: Sequence[str],
    width: int,
) -> tuple[list[int], list[str]]:
    """The places of the columns that are drawn; the names of those that tell something and are
    not."""
    places = list(range(len(columns)))
    empty = [place for place in places if not any(row[place].plain for row in cells)]
    droppable = [*empty, *(columns.index(name) for name in spare)]
    for place in droppable:
        if _width([needs[one] for one in places]) <= width or len(places) == 1:
            break
        if place in places:
            places.remove(place)
    missed = [
        name for place, name in enumerate(columns) if place not in places and place not in empty
    ]
    return places, missed


def pairs(title: str, rows: Iterable[tuple[str, Any]]) -> Table:
    """A table of names and values without a head; rows with an empty value are left out."""
    drawn = Table(
        title=title, title_justify="left", title_style="bold", box=None, show_header=False,
        pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in rows:
        if str(value) != "":
            drawn.add_row(name, _text(value))
    return drawn


def side_by_side(*tables: Table) -> Table:
    """Narrow tables in one row."""
    grid = Table.grid(padding=(0, 6, 0, 0))
    grid.add_row(*tables)
    return grid
