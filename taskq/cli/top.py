"""`taskq top`: a live view of a cluster in the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from taskq.cli import exits
from taskq.cli.cluster import document_of
from taskq.cli.command import DURATION, Command, Failure, cluster_options, connected
from taskq.cli.output import console, note, print_json
from taskq.cli.quantity import duration_text
from taskq.cli.stats import stats_document
from taskq.cli.top_look import Look, Rates, take_look
from taskq.client import Client

if TYPE_CHECKING:
    from rich.console import Group

# Where there is no terminal whose height could be asked.
PIPE_HEIGHT = 60
INTERVAL_SECS_MIN = 0.1


@click.command("top", cls=Command)
@click.option(
    "--interval", type=DURATION, default="2s", show_default=True, help="Time between two looks."
)
@click.option("--once", is_flag=True, help="Print one picture, after two looks, and end.")
@cluster_options
def top_command(
    interval: float, once: bool, url: str | None, request_timeout: float, as_json: bool
) -> None:
    """Watch a cluster: members, rates, queues, workers.

    Rates are counts per second between two looks, the curves those of the last looks. It goes on,
    and says so, while nobody leads or no node can be reached. Ctrl-C ends it.

    --once prints one picture, --json one document; both look twice, and end with 1 when nobody
    leads.
    """
    interval = max(interval, INTERVAL_SECS_MIN)
    with connected(url, request_timeout) as client:
        if not (once or as_json):
            _watch(client, interval)
            return
        rates = Rates()
        looks = _looks(client, interval, rates)
        look = next(looks)
        if look.status is not None:
            look = next(looks)
    if look.status is None:
        raise Failure(look.trouble, exits.UNREACHABLE)
    if as_json:
        print_json(_document(look, rates))
    else:
        screen = console()
        height = screen.height if sys.stdout.isatty() else PIPE_HEIGHT
        screen.print(_drawn(look, rates, interval, screen.width, height))
    raise click.exceptions.Exit(exits.OK if look.status.leader else exits.FAILED)


def _looks(client: Client, interval_secs: float, rates: Rates) -> Iterator[Look]:
    """Looks without end, `interval_secs` from the beginning of one to that of the next."""
    while True:
        began = time.monotonic()
        look = take_look(client, began)
        rates.add(look)
        yield look
        time.sleep(max(0.0, began + interval_secs - time.monotonic()))


def _watch(client: Client, interval_secs: float) -> None:
    """Draws on the whole terminal, or one picture after another where there is none."""
    rates = Rates()
    screen = console()
    if not sys.stdout.isatty():
        for look in _looks(client, interval_secs, rates):
            screen.print(_drawn(look, rates, interval_secs, screen.width, PIPE_HEIGHT))
            note("")
        return
    from rich.live import Live

    with Live(console=screen, screen=True, auto_refresh=False) as live:
        last: Look | None = None
        for look in _looks(client, interval_secs, rates):
            # What was seen last stays in sight beside the trouble.
            shown = _with_counts_of(look, last)
            last = shown if shown.stats is not None else last
            width, height = screen.size
            live.update(_drawn(shown, rates, interval_secs, width, height), refresh=True)


def _with_counts_of(look: Look, last: Look | None) -> Look:
    if look.stats is not None or last is None:
        return look
    status = look.status or last.status
    return Look(look.at, status, last.stats, last.queues, last.workers, look.trouble)


def _drawn(look: Look, rates: Rates, interval_secs: float, width: int, height: int) -> Group:
    from rich.console import Group

    from taskq.cli.top_frame import Picture, frame

    now = datetime.now().astimezone().strftime("%H:%M:%S")
    picture = Picture(look, rates, now, duration_text(interval_secs))
    return Group(*frame(picture, width, height))


def _document(look: Look, rates: Rates) -> dict[str, Any]:
    """For `--json`: what `taskq cluster status` and `taskq stats` tell, and the rates."""
    assert look.status is not None
    return {
        "cluster": document_of(look.status),
        "stats": look.stats and stats_document(look.stats, look.queues, look.workers),
        "rates": {f"{name}_per_sec": round(rate, 3) for name, rate in rates.now.items()},
        "trouble": look.trouble,
    }
