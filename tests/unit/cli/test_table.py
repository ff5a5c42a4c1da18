"""Tables at several widths: what is left out, what is folded, and what never is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq.cli.output import show
from taskq.cli.queues import queue_rows
from taskq.cli.table import table
from taskq.cli.workers import worker_rows
from tests.unit.cli.busy_cluster import queues, workers

ID = "01a200c2-8edc-7491-94fe-01c4a791edcd"
Draw = Callable[[Any, int], list[str]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Draw:
    """The lines of what `make` makes on a terminal of that width."""

    def draw(make: Any, width: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        show(make())
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return draw


def tasks(queue: str = "mails", error: str = "ValueError: no") -> Any:
    rows = [(ID, queue, "", 150, "2026-11-22 00:57:59", error)]
    columns = ("id", "queue", "name", "priority", "died", "reason")
    spare = ("died", "priority", "reason")
    return table("Tasks", columns, rows, numbers=("priority", "died"), keep=("id",), spare=spare)


def test_everything_is_shown_where_there_is_room(drawn: Draw) -> None:
    lines = drawn(tasks, 120)
    assert lines[2].split() == ["id", "queue", "name", "priority", "died", "reason"]
    cells = [ID, "mails", "150", "2026-11-22", "00:57:59", "ValueError:", "no"]
    assert lines[4].split() == cells
    assert "No room" not in "".join(lines)


@pytest.mark.parametrize(
    ("width", "columns", "missed"),
    [
        (92, ["id", "queue", "priority", "died", "reason"], ""),
        (80, ["id", "queue", "priority", "reason"], " No room for died."),
        (62, ["id", "queue", "reason"], " No room for priority, died."),
        (50, ["id", "queue"], " No room for priority, died, reason."),
    ],
)
def test_what_matters_least_is_left_out_and_named(
    width: int, columns: list[str], missed: str, drawn: Draw
) -> None:
    lines = drawn(tasks, width)
    assert lines[2].split() == columns
    assert max(map(len, lines)) <= width
    assert lines[-1] == missed  # a column with nothing in it is not missed


def test_long_names_are_folded_not_shredded(drawn: Draw) -> None:
    lines = drawn(lambda: tasks("z" * 200), 80)
    assert max(map(len, lines)) <= 80
    pieces = [line.count("z") for line in lines if "z" in line]
    assert sum(pieces) == 200
    assert min(pieces[:-1]) >= 16


def test_an_id_is_whole_even_where_the_terminal_has_to_wrap_it(drawn: Draw) -> None:
    lines = drawn(tasks, 20)
    assert any(ID in line and "mails" in line for line in lines)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_names_of_queues_and_workers_are_there_at_any_width(width: int, drawn: Draw) -> None:
    for make, names in (
        (lambda: queue_rows("Queues", queues()), [one.name for one in queues()]),
        (lambda: worker_rows(workers()), ["web-1-4711", "web-2-4711", "batch-3"]),
    ):
        lines = drawn(make, width)
        assert max(map(len, lines)) <= width
        found = {line.split()[0] for line in lines if line}
        assert set(names) <= found
