"""`python -m chaos.checkers FILE`: judges a history that an experiment kept."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import click

from chaos.checkers import CHECKERS, Evidence
from chaos.checkers.linear import linearizability
from chaos.history import History

SHOWN_COUNT = 20


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rate", nargs=2, type=float, default=(1.0, 1.0), help="Of cluster time: from, to.")
@click.option("--jumps", default=0.0, help="What jumps of clocks may add to it, seconds.")
def main(file: Path, rate: tuple[float, float], jumps: float) -> None:
    """Judge the history in FILE by every rule. Exit code 1: a promise was broken."""
    history = History.load(file)
    evidence = Evidence(history, clock_rate=rate, clock_jump_secs=jumps)
    outcomes = Counter(call.outcome for call in history.calls)
    print(f"{len(history.calls)} calls {dict(outcomes)}, {len(evidence.final.tasks)} tasks")
    broken = 0
    for check in CHECKERS:
        started = time.process_time()
        lines = list(check(evidence))
        secs = time.process_time() - started
        print(f"{check.__name__:22} {len(lines):6} broken {secs:8.3f} s")
        for line in lines[:SHOWN_COUNT]:
            print(f"    {line}")
        broken += len(lines)
    found = linearizability(evidence)
    print(f"searched {found.tasks} tasks in {found.steps} steps, {len(found.undecided)} undecided")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
