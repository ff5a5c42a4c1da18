"""The picture of `taskq top`: one look as lines of a given width, at most as many as there is room.

    title, and the sentence that matters
    tasks by state    what happens per second, and its curve
    members           one row each
    queues, workers   those with most to do first; the rest is counted

Pure: same look, rates and size, same picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.text import Text

from taskq.cli.cluster import verdict
from taskq.cli.graph import BAR_SIZE, Cell, Column, bar, curve, rows_of, short
from taskq.cli.quantity import count_text, duration_text, size_text
from taskq.cli.top_look import RATES, Look, Rates
from taskq.client.views import QueueStatus, WorkerStatus
from taskq.quorum import voters
from taskq.results import ClusterStatus, MemberRole, MemberView, Stats

WIDTH_MIN = 60
CURVE_SIZE = 20
SENTENCE_LINES_MAX = 3
# Tables of few columns are not drawn apart over a wide terminal.
MEMBERS_WIDTH_MAX = 100

STATES = ("ready", "scheduled", "retrying", "leased", "dead")
_LABELS = {"leased": "running", "leases_lost": "leases lost"}
_RATE_STYLES = {"failed": "yellow", "leases_lost": "red"}
_ROLE_STYLES = {
    MemberRole.LEADER.value: "bold green",
    MemberRole.FOLLOWER.value: "green",
    MemberRole.UNREACHABLE.value: "bold red",
}


class Picture(NamedTuple):
    """What is drawn: a look and the rates up to it; `time` of day and `interval` as text."""

    look: Look
    rates: Rates
    time: str
    interval: str


def frame(picture: Picture, width: int, height: int) -> list[Text]:
    """At most `height` lines, none wider than `width` (but at least `WIDTH_MIN`)."""
    width = max(width, WIDTH_MIN)
    look = picture.look
    lines = _head(picture, width)
    if look.stats is not None:
        lines += [Text(), *_tasks(look.stats, picture.rates)]
    if look.status is not None:
        lines += [Text(), *_members(look.status, width)]
    if look.stats is not None:
        # A blank line and a line of titles for each of two tables; each has a row at least.
        room = max(2, height - len(lines) - 4)
        queue_room = max(1, min(len(look.queues), max(room - room // 2, room - len(look.workers))))
        lines += [Text(), *_queues(look.queues, width, queue_room)]
        lines += [Text(), *_workers(look.workers, width, room - queue_room)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        # On a terminal that is narrower still a line is cut, for its place in the picture's sake.
        line.no_wrap, line.overflow = True, "crop"
    return lines[:height]


# --- what matters ---------------------------------------------------------------------------------


def _head(picture: Picture, width: int) -> list[Text]:
    look, status = picture.look, picture.look.status
    title = Text().append("taskq top", style="bold")
    if status is not None:
        title.append("  cluster ", style="dim").append(status.cluster_id[:8] or "being founded")
        title.append("  leader ", style="dim")
        title.append(status.leader or "none", style="bold green" if status.leader else "bold red")
        title.append("  term ", style="dim").append(str(status.term))
    right = f"every {picture.interval}  {picture.time}"
    title.append(" " * max(2, width - title.cell_len - len(right))).append(right, style="dim")
    if look.trouble or status is None:
        return [title, *_wrapped(look.trouble, "bold red", width)]
    members = [MemberView(*member) for member in status.members]
    whole = all(
        member.role in (MemberRole.LEADER.value, MemberRole.FOLLOWER.value)
        for member in voters(members)
    )
    style = "bold red" if not status.leader else "green" if whole else "yellow"
    return [title, *_wrapped(verdict(status, members), style, width)]


def _wrapped(text: str, style: str, width: int) -> list[Text]:
    lines = textwrap.wrap(text, width, max_lines=SENTENCE_LINES_MAX, placeholder=" …")
    return [Text(line, style=style) for line in lines]


def _tasks(stats: Stats, rates: Rates) -> list[Text]:
    """States on the left, rates on the right, row by row."""
    lines = []
    for state, name in zip(STATES, RATES, strict=True):
        count = stats.states.get(state, 0)
        line = Text().append(f"  {_LABELS.get(state, state):<10}", style="dim")
        line.append(f"{count_text(count):>13}", style="red" if state == "dead" and count else "")
        line.append(f"      {_LABELS.get(name, name):<11}", style="dim")
        now = rates.now.get(name)
        style = _RATE_STYLES.get(name, "bold")
        line.append(f"{'-' if now is None else _rate_text(now):>9}", style=style if now else "dim")
        line.append(" /s  ", style="dim")
        past = rates.curves[name]
        if len(past) > 1:  # one block alone says nothing
            line.append(curve(past, CURVE_SIZE), style=_RATE_STYLES.get(name, "cyan"))
        lines.append(line)
    return lines


def _rate_text(rate: float) -> str:
    return f"{rate:.1f}" if 0 < rate < 100 else f"{rate:,.0f}"


# --- tables ---------------------------------------------------------------------------------------


def _members(status: ClusterStatus, width: int) -> list[Text]:
    columns = [Column("member", 0, left=True), Column("role", 11, left=True)]
    columns += [Column("applied", 12), Column("lag", 7), Column("heard", 7)]
    columns += [Column("free", 9), Column("log", 9)]
    rows: list[Sequence[Cell]] = [
        (
            member.node_id,
            Text(member.role, style=_ROLE_STYLES.get(member.role, "yellow")),
            _known(member.applied_index, count_text),
            _known(member.lag, count_text),
            _known(member.heard_ms_ago, lambda ms: _brief(ms / 1000)),
            _known(member.free_bytes, size_text),
            _known(member.log_bytes, size_text),
        )
        for member in (MemberView(*one) for one in status.members)
    ]
    return rows_of(columns, rows, min(width, MEMBERS_WIDTH_MAX), len(rows))


def _brief(secs: float) -> str:
    """The larger unit of a duration."""
    return " ".join(duration_text(round(secs, 1) if secs > 1 else secs).split()[:2])


def _known(value: int | None, as_text: Callable[[int], str]) -> str:
    return "" if value is None else as_text(value)


def depth(queue: QueueStatus) -> int:
    """Tasks of a queue that wait, for a worker or for their time."""
    return queue.ready + queue.scheduled + queue.retrying


def _queues(queues: Sequence[QueueStatus], width: int, room: int) -> list[Text]:
    """The deepest first."""
    if not queues:
        return [Text("  queue", style="bold"), Text("  none yet", style="dim")]
    names = ("high", "normal", "low", "later", "running", "dead")
    columns = [Column("queue", 0, left=True), Column("waiting", BAR_SIZE, left=True)]
    columns += [Column(name, max(6, len(name))) for name in names]
    ordered = sorted(queues, key=lambda queue: (-depth(queue), -queue.leased, queue.name))
    deepest = max(depth(ordered[0]), 1)
    rows: list[Sequence[Cell]] = []
    for queue in ordered:
        name = Text().append("paused " if queue.paused else "", style="yellow").append(queue.name)
        waiting = Text(bar(depth(queue) / deepest), style="blue")
        later = queue.scheduled + queue.retrying
        counts = (queue.ready_high, queue.ready_normal, queue.ready_low, later, queue.leased)
        cells = [Text(short(count), style="" if count else "dim") for count in counts]
        dead = Text(short(queue.dead), style="red" if queue.dead else "dim")
        rows.append((name, waiting, *cells, dead))
    return rows_of(columns, rows, width, room)


def _workers(workers: Sequence[WorkerStatus], width: int, room: int) -> list[Text]:
    """The busiest first."""
    if not workers:
        return [Text("  worker", style="bold"), Text("  none", style="dim")]
    columns = [Column("worker", 0, left=True), Column("busy", BAR_SIZE, left=True)]
    columns += [Column("running", 7), Column("slots", 7), Column("CPU", 7), Column("memory", 9)]
    columns += [Column("seen", 8)]
    ordered = sorted(workers, key=lambda worker: (-worker.leased, worker.name, worker.id))
    rows: list[Sequence[Cell]] = [
        (
            worker.name or worker.id,
            Text(bar(worker.leased / max(worker.concurrency, 1)), style="cyan"),
            short(worker.leased),
            short(worker.concurrency),
            # Nothing is known before the first heartbeat.
            f"{worker.cpu:.0f} %" if worker.memory_size else "",
            size_text(worker.memory_size) if worker.memory_size else "",
            _brief(worker.seen),
        )
        for worker in ordered
    ]
    return rows_of(columns, rows, width, room)
