"""`python -m chaos.live`: campaigns of faults against clusters under load. `make chaos` runs it."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from chaos.live.campaign import Round, carry_out
from chaos.live.campaign_record import counts, next_seed, row_of
from chaos.live.grounds import FORMS, ground_of, make_ready
from chaos.live.nemeses import ALL_NEMESES, Aim, aims, drawn, filled, on_disks
from chaos.live.nemesis import TARGETS
from chaos.live.report import REPORTS, Told, write
from chaos.live.strikes import Strike
from chaos.live.timeline import Timeline
from chaos.record import append, rows

# A round's calls are held in memory and judged at its end: 150,000 of them in so much time.
ROUND_SECS = 200.0
# Of that: the start of the cluster, the read-out, the judgement.
ENDING_SECS = 45.0
# Less is not worth a cluster of its own.
LEFT_SECS_MIN = 60.0


@dataclass
class Campaign:
    """What to do, and what came of it. `plan`: what is left to strike; None: drawn anew from the
    seed of each round. `minutes`: how long it may take, 0 for as long as there is a plan."""

    form: str
    nodes: int
    seed: int
    deck: list[Aim]
    plan: deque[Aim] | None
    minutes: float
    keep: bool
    console: Console
    told: list[Told] = field(default_factory=list)
    broken: bool = False
    stopped: bool = False

    def rounds(self) -> Iterator[Round]:
        """One after the other, until the plan or the time is over, or somebody stops it."""
        ends = time.monotonic() + self.minutes * 60
        total = self.minutes * 60 or math.inf
        each = total / math.ceil(total / ROUND_SECS) if self.minutes else ROUND_SECS
        while not self.stopped and (self.plan is None or self.plan):
            left = ends - time.monotonic() if self.minutes else math.inf
            if left < LEFT_SECS_MIN:
                return
            home = Path(tempfile.mkdtemp(prefix=f"taskq-chaos-{self.seed}-"))
            secs = max(1.0, min(each, left) - ENDING_SECS)
            plan = drawn(self.deck, self.seed) if self.plan is None else _taken(self.plan)
            yield Round(
                *(self.seed, plan, home, ground_of(self.form, self.seed), self.nodes, secs),
                equipped=on_disks(self.deck),
            )
            self.seed += 1


def _taken(plan: deque[Aim]) -> Iterator[Aim]:
    while plan:
        yield plan.popleft()


@click.command()
@click.option("--minutes", default=None, type=float, help="How long it may take; 3 without a plan.")
@click.option("--seed", default=None, type=int, help="Of the first round; else the next in line.")
@click.option("--form", type=click.Choice(FORMS), default="processes", show_default=True)
@click.option("--nodes", type=click.Choice(["3", "5"]), default="3", show_default=True)
@click.option("--nemesis", multiple=True, type=click.Choice(list(ALL_NEMESES)), help="Only these.")
@click.option("--target", multiple=True, type=click.Choice(TARGETS), help="Only these.")
@click.option("--times", default=0, help="Each fault so often, then it ends.")
@click.option(
    "--fill", default=0, help="Each nemesis so often, with what is in the results already."
)
@click.option("--strikes", default="", help="Just these, in this order: 'kill@leader; pause@all'")
@click.option("--keep/--no-keep", default=True, help="Append to chaos/results/chaos.jsonl.")
@click.option("--reports", default=REPORTS, type=click.Path(path_type=Path), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each round.")
@click.option("--list", "as_list", is_flag=True, help="The faults that this form knows.")
def main(
    minutes: float | None,
    seed: int | None,
    form: str,
    nodes: str,
    nemesis: tuple[str, ...],
    target: tuple[str, ...],
    times: int,
    fill: int,
    strikes: str,
    keep: bool,
    reports: Path,
    as_json: bool,
    as_list: bool,
) -> None:
    """Strike clusters under load with one fault after the other, and account for every request.

    In rounds, each a new cluster from a seed and a line in the results; the next campaign goes on
    with the next seed. Ctrl-C ends after the present strike and still judges the round. Exit code
    1: a promise was broken, or may have been; folders and history are kept.
    """
    console = Console(stderr=True, soft_wrap=True)
    deck = aims(ground_of(form).abilities, nemesis, target)
    if as_list:
        print("\n".join(str(one) for one in deck))
        return
    if not deck:
        raise click.UsageError(f"none of that can be done with {form}; see --list")
    if strikes:
        deck = list(_told(strikes))
    try:
        make_ready(form)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    known = rows("chaos")
    first = next_seed(known, form) if seed is None else seed
    plan = _plan(deck, first, times, fill, counts(known, form, int(nodes)))
    if strikes:
        plan = deque(deck)
    if minutes is None:
        minutes = 3.0 if plan is None else 0.0
    campaign = Campaign(form, int(nodes), first, deck, plan, minutes, keep, console)
    _run(campaign, as_json=as_json)
    if campaign.told:
        console.print(f"The report: {write(campaign.told, reports)}")
    sys.exit(1 if campaign.broken else 0)


def _plan(
    deck: list[Aim], seed: int, times: int, fill: int, so_far: Mapping[Aim, int]
) -> deque[Aim] | None:
    if fill:
        return deque(filled(deck, fill, so_far, seed))
    return deque(islice(drawn(deck, seed), times * len(deck))) if times else None


def _told(strikes: str) -> Iterator[Aim]:
    for text in strikes.split(";"):
        try:
            yield Aim.parse(text)
        except ValueError as error:
            raise click.UsageError(str(error)) from None


def _run(campaign: Campaign, *, as_json: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    total = campaign.minutes * 60 if campaign.plan is None else len(campaign.plan)
    with Progress(*columns, console=campaign.console) as progress:
        bar = progress.add_task("chaos", total=total)
        started = time.monotonic()
        for round_ in campaign.rounds():

            def struck(strike: Strike, round_: Round = round_) -> None:
                campaign.console.print(strike.told(round_.acks), markup=False, highlight=False)
                done = len(campaign.plan) if campaign.plan is not None else 0
                seen = total - done if campaign.plan is not None else time.monotonic() - started
                progress.update(bar, completed=seen, description=f"seed {round_.seed}")

            row = _carried_out(campaign, round_, struck)
            if as_json:
                print(json.dumps(row, sort_keys=True), flush=True)


def _carried_out(campaign: Campaign, round_: Round, struck: Any) -> dict[str, Any]:
    """One round; its row."""
    gc.collect()
    gc.disable()  # a full collection of the history would stop the probe for 0.1 s
    try:
        asyncio.run(_until_interrupted(campaign, round_, struck))
    except OSError as error:
        if round_.struck:
            _keep_folders(campaign, round_)
            raise
        raise click.ClickException(f"no ground for {campaign.form}: {error}") from error
    except BaseException:
        _keep_folders(campaign, round_)
        raise
    finally:
        gc.enable()
    row = row_of(round_)
    if campaign.keep:
        append("chaos", row)
    campaign.told.append(Told(row, Timeline.of(round_)))
    _tell_round(campaign, round_, row)
    return row


async def _until_interrupted(campaign: Campaign, round_: Round, struck: Any) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        campaign.stopped = True
        round_.stop()
        loop.remove_signal_handler(signal.SIGINT)  # the second one ends it at once
        campaign.console.print("It ends after this strike. Ctrl-C once more: at once.")

    loop.add_signal_handler(signal.SIGINT, stop)
    await carry_out(round_, struck)


def _tell_round(campaign: Campaign, round_: Round, row: dict[str, Any]) -> None:
    calls = sum(sum(each.values()) for each in row["calls"].values())
    broken = sum(row["rules"].values())
    told = f"seed {round_.seed}: {len(round_.strikes)} strikes, {calls:,} calls,"
    told += f" {row['lost']} lost, {row['doubled']} doubled, {broken} broken promises"
    told += f", {row['undecided']} tasks undecided" if row["undecided"] else ""
    campaign.console.print(told, markup=False, highlight=False)
    for line in round_.verdict.violations[:20]:
        campaign.console.print(line, markup=False, highlight=False)
    if broken or row["undecided"]:  # a task of which nothing is known is not green
        campaign.broken = True
        _keep_folders(campaign, round_)
    else:
        shutil.rmtree(round_.home, ignore_errors=True)


def _keep_folders(campaign: Campaign, round_: Round) -> None:
    round_.history.save(round_.home / "history.jsonl.gz")
    words = [*("python", "-m", "chaos.live"), "--form", campaign.form, "--nodes", str(round_.nodes)]
    words += ["--seed", str(round_.seed), "--strikes", "; ".join(str(one) for one in round_.struck)]
    campaign.console.print(f"The folders and the history are kept in {round_.home}.")
    campaign.console.print(f"Once more: {shlex.join(words)}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
