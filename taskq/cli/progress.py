"""Progress of long work, on standard error: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from taskq.cli.output import console, note
from taskq.cli.quantity import count_text

# Seconds between two lines where there is no terminal.
LINE_INTERVAL_SECS = 2.0

Step = Callable[[str, int], None]


@contextlib.contextmanager
def progress(labels: list[str], total: int) -> Iterator[Step]:
    """Bars with these labels; gives `step(label, count)`, which sets how far one has come."""
    if sys.stderr.isatty():
        with _bars(labels, total) as step:
            yield step
    else:
        yield _lines(labels, total)


def _lines(labels: list[str], total: int) -> Step:
    counts = dict.fromkeys(labels, 0)
    began = told = time.monotonic()

    def step(label: str, count: int) -> None:
        nonlocal told
        counts[label] = count
        now = time.monotonic()
        done = all(count == total for count in counts.values())
        if now - told < LINE_INTERVAL_SECS and not done:
            return
        told = now
        parts = [f"{name} {count_text(counts[name])}/{count_text(total)}" for name in labels]
        rate = counts[labels[-1]] / max(now - began, 1e-3)
        note(f"{', '.join(parts)}, {rate:,.0f}/s")

    return step


@contextlib.contextmanager
def _bars(labels: list[str], total: int) -> Iterator[Step]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """Steps per second since the first."""

        def render(self, task: Task) -> Text:
            rate = task.completed / task.elapsed if task.elapsed else 0.0
            return Text(f"{rate:,.0f}/s", style="dim")

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True)) as bars:
        ids = {label: bars.add_task(label, total=total) for label in labels}
        yield lambda label, count: bars.update(ids[label], completed=count)
