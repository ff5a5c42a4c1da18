"""`taskq demo`: a broker, a worker and real work, from nothing; everything ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from taskq.cli import exits
from taskq.cli.command import Command, Failure, json_option
from taskq.cli.demo_run import COUNTED, FUNCTION, QUEUE, SUBMITTED, count_by_tasks
from taskq.cli.output import note, print_json, print_text, show, table
from taskq.cli.process import Broker, Child, Interrupted, require_broker, stop_signals
from taskq.cli.progress import progress
from taskq.cli.quantity import count_text
from taskq.cli.wordcount import Totals, count_directly, standard_library

# How long one look at the children waits, while the demo stays in front.
WATCH_SECS = 0.3


@click.command("demo", cls=Command)
@click.option("--once", is_flag=True, help="End after the totals.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the tasks; default: a temporary one.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1), default=os.cpu_count() or 2,
              help="Tasks at a time; default: the number of processors.")  # fmt: skip
@json_option
@click.pass_context
def demo_command(
    ctx: click.Context, once: bool, data: Path | None, concurrency: int, as_json: bool
) -> None:
    """Run everything once: a broker, a worker and real work.

    Counts lines and words of every Python file of this interpreter's standard library, one task
    per file, and compares the totals with a direct count. Then stays, to be played with, until
    Ctrl-C; --once ends after the totals.
    """
    require_broker("demo")
    with _started(data, concurrency) as (broker, worker, ignore_signals):
        try:
            equal = _run(broker, worker, as_json)
        except BaseExceptionGroup as group:
            # Those of the first task that failed; the others were cancelled because of it.
            raise group.exceptions[0] from None
        if once or as_json:
            code = exits.OK if equal else exits.FAILED
        else:
            code = _stay(broker, worker, equal)
        ignore_signals()
    ctx.exit(code)


@contextlib.contextmanager
def _started(data: Path | None, concurrency: int) -> Iterator[tuple[Broker, Child, Any]]:
    """A broker and a worker in processes of their own; ended, with the scratch folder, after."""
    scratch = Path(tempfile.mkdtemp(prefix="taskq-demo-"))
    children: list[Child] = []
    with stop_signals() as ignore_signals:
        try:
            broker = Broker(
                data or scratch / "data",
                scratch,
                0,
                log=scratch / "broker.log",
                remove_scratch=True,
            )
            children.append(broker)
            broker.wait_ready()
            # Two slots for the queue's sake even on one processor: claims overlap with runs.
            slots = str(max(2, concurrency))
            arguments = ["worker", FUNCTION, f"--queue={QUEUE}", f"--concurrency={slots}"]
            arguments += [f"--url={broker.url}", "--name=demo"]
            worker = Child("command_line", arguments, scratch / "worker.log")
            children.append(worker)
            yield broker, worker, ignore_signals
        except Interrupted as stop:
            note("\nStopped.")
            raise click.exceptions.Exit(stop.code) from None
        finally:
            ignore_signals()
            for child in reversed(children):  # the worker first: it hands in what it has
                child.stop()
            shutil.rmtree(scratch, ignore_errors=True)


def _check(broker: Broker, worker: Child) -> None:
    """Raises Failure where a child has ended by itself."""
    for name, child in (("broker", broker), ("worker", worker)):
        if child.status is not None:
            words = child.last_words()
            raise Failure(f"The {name} ended (exit {child.status}):\n{words}")


def _run(broker: Broker, worker: Child, as_json: bool) -> bool:
    files = standard_library()
    note(
        f"Broker on {broker.address}. Counting the words of {count_text(len(files))} Python files, "
        "one task per file."
    )
    began = time.perf_counter()
    with progress([SUBMITTED, COUNTED], len(files)) as step:
        totals = asyncio.run(
            count_by_tasks(broker.url, files, step, lambda: _check(broker, worker))
        )
    secs = time.perf_counter() - began
    direct_began = time.perf_counter()
    direct = count_directly(files)
    direct_secs = time.perf_counter() - direct_began
    if as_json:
        print_json(
            {
                "equal": totals == direct,
                "tasks": {**totals._asdict(), "secs": round(secs, 3)},
                "direct": {**direct._asdict(), "secs": round(direct_secs, 3)},
                "tasks_per_sec": round(len(files) / secs, 1),
            }
        )
    else:
        _show_totals(totals, secs, direct, direct_secs)
    return totals == direct


def _show_totals(totals: Totals, secs: float, direct: Totals, direct_secs: float) -> None:
    rows: list[tuple[str, str, str]] = [
        (name, count_text(ours), count_text(theirs))
        for name, ours, theirs in zip(Totals._fields, totals, direct, strict=True)
    ]
    rows.append(("time", f"{secs:.2f} s", f"{direct_secs:.2f} s"))
    rows.append(("tasks/s", f"{totals.files / secs:,.0f}", ""))
    columns = ("", "through the queue", "counted directly")
    show(table("Words of the standard library", columns, rows, numbers=columns[1:]))
    if totals == direct:
        print_text("The totals are equal: every task ran, and each result counted once.")
    else:
        print_text("THE TOTALS DIFFER: a task was lost or counted twice. This is a bug in taskq.")


def _stay(broker: Broker, worker: Child, equal: bool) -> int:
    """Stays in front until a signal; the exit code."""
    program = "taskq"
    if shutil.which("taskq") != str(Path(sys.argv[0]).absolute()) and "taskq" in sys.argv[0]:
        program = shlex.quote(os.path.relpath(sys.argv[0]))
    example = shlex.quote('["/etc/hosts"]')
    print_text(
        f"\nThe broker and the worker go on running. Try, in another terminal:\n\n"
        f"  export TASKQ_URL={broker.url}\n"
        f"  {program} submit {QUEUE} --json-args {example} --wait\n"
        f"  {program} stats\n\n"
        f"Ctrl-C stops everything."
    )
    try:
        while True:
            _check(broker, worker)
            time.sleep(WATCH_SECS)
    except Interrupted:
        note("\nStopping the worker and the broker ...")
        return exits.OK if equal else exits.FAILED
