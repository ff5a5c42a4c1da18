"""`taskq demo`: a cluster, a worker and real work, from nothing; everything ends with it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from taskq.cli import exits
from taskq.cli.command import Command, Failure, json_option
from taskq.cli.demo_run import COUNTED, FUNCTION, QUEUE, SUBMITTED
from taskq.cli.demo_strike import Outage, count_and_strike
from taskq.cli.local_cluster import LocalCluster
from taskq.cli.local_folder import free_ports
from taskq.cli.output import note, print_json, print_text, show
from taskq.cli.process import Child, require_broker
from taskq.cli.progress import progress
from taskq.cli.quantity import count_text
from taskq.cli.stopping import Interrupted, StopSignals
from taskq.cli.wordcount import Totals, count_directly, standard_library

NODE_COUNT = 3
# How long one look at the children waits, while the demo stays in front.
WATCH_SECS = 0.3


@click.command("demo", cls=Command)
@click.option("--once", is_flag=True, help="End after the totals.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the tasks; default: a temporary one.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1), default=os.cpu_count() or 2,
              help="Tasks at a time; default: the number of processors.")  # fmt: skip
@click.option("--files", "file_count", type=click.IntRange(1), help="Count only so many files.")
@json_option
@click.pass_context
def demo_command(
    ctx: click.Context,
    once: bool,
    data: Path | None,
    concurrency: int,
    file_count: int | None,
    as_json: bool,
) -> None:
    """Run everything once: a cluster of three nodes, a worker and real work.

    Counts lines and words of every Python file of this interpreter's standard library, one task
    per file, and compares the totals with a direct count. Half-way the node that leads is killed.
    Then stays, to be played with, until Ctrl-C; --once ends after the totals.
    """
    require_broker("demo")
    with StopSignals() as stops, contextlib.ExitStack() as ends:
        ends.callback(stops.ignore)
        try:
            cluster, worker = _start(stops, ends, data, concurrency)
            equal = _run(stops, cluster, worker, file_count, as_json)
            if not once and not as_json:
                _stay(cluster, worker)
        except Interrupted as stop:
            note("\nStopped.")
            ctx.exit(stop.code)
        except BaseExceptionGroup as group:
            # The first task that failed; the others were cancelled because of it.
            raise group.exceptions[0] from None
    ctx.exit(exits.OK if equal else exits.FAILED)


def _start(
    stops: StopSignals, ends: contextlib.ExitStack, data: Path | None, concurrency: int
) -> tuple[LocalCluster, Child]:
    """Three nodes and a worker in processes of their own. `ends` ends them in the opposite order:
    the worker first, which hands in what it has; the scratch folder last."""
    with stops.held():
        scratch = Path(tempfile.mkdtemp(prefix="taskq-demo-"))
        ends.callback(shutil.rmtree, scratch, ignore_errors=True)
        cluster = LocalCluster(
            data or scratch / "data",
            scratch,
            free_ports(NODE_COUNT),
            held=stops.held,
            remove_scratch=True,
        )
        ends.callback(cluster.stop)
        ends.callback(stops.ignore)
    cluster.wait_ready()
    # Two slots even on one processor: a claim is under way while a task runs.
    arguments = ["worker", FUNCTION, f"--queue={QUEUE}", f"--concurrency={max(2, concurrency)}"]
    arguments += [f"--url={cluster.url}", "--name=demo", "--prefetch=20"]
    with stops.held():
        worker = Child("command_line", arguments, scratch / "worker.log")
        ends.callback(worker.stop)
        ends.callback(stops.ignore)
    return cluster, worker


def _look(cluster: LocalCluster, worker: Child) -> None:
    """Starts again what may end. Raises Failure where something ended for good."""
    for text in cluster.look():
        note(text)
    if cluster.given_up:
        raise Failure("No node of the cluster can be kept running.")
    if worker.status is not None:
        raise Failure(f"The worker ended (exit {worker.status}):\n{worker.last_words()}")


def _run(
    stops: StopSignals, cluster: LocalCluster, worker: Child, file_count: int | None, as_json: bool
) -> bool:
    """Counts both ways and shows the totals; whether they are equal."""
    files = standard_library()[:file_count]
    note(
        f"{NODE_COUNT} nodes on {', '.join(cluster.addresses.values())}. Counting the words of "
        f"{count_text(len(files))} Python files, one task per file. Half-way the leader is killed."
    )
    began = time.perf_counter()
    with progress([SUBMITTED, COUNTED], len(files)) as step:
        work = count_and_strike(cluster, files, step, lambda: _look(cluster, worker))
        totals, outage = stops.run(work)
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
                "outage": {**outage._asdict(), "secs": round(outage.secs, 3)},
            }
        )
    else:
        _show_totals(totals, secs, direct, direct_secs)
        _show_outage(outage)
    return totals == direct


def _show_totals(totals: Totals, secs: float, direct: Totals, direct_secs: float) -> None:
    from taskq.cli.table import table

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


def _show_outage(outage: Outage) -> None:
    print_text(
        f"{outage.killed} led and was killed half-way; {outage.leader} took over. Nothing was "
        f"carried out for {outage.secs:.2f} s."
    )


def _stay(cluster: LocalCluster, worker: Child) -> None:
    """Stays in front until a signal, which here is the ordinary end."""
    program = "taskq"
    if shutil.which("taskq") != str(Path(sys.argv[0]).absolute()) and "taskq" in sys.argv[0]:
        program = shlex.quote(os.path.relpath(sys.argv[0]))
    example = shlex.quote('["/etc/hosts"]')
    print_text(
        f"\nThe cluster and the worker go on running. Try, in another terminal:\n\n"
        f"  export TASKQ_URL={cluster.url}\n"
        f"  {program} submit {QUEUE} --json-args {example} --wait\n"
        f"  {program} stats\n"
        f"  {program} cluster status --watch\n\n"
        f"Ctrl-C stops everything."
    )
    try:
        while True:
            _look(cluster, worker)
            time.sleep(WATCH_SECS)
    except Interrupted:
        note("\nStopping the worker and the cluster ...")
