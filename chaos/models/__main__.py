"""`python -m chaos.models [NAME ...]`: run the models, print a table, exit 1 on a complaint."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

from chaos.models.explore import Progress
from chaos.models.verdict import STATES_MAX, TOPICS, Verdict, judge


def main() -> int:
    """Run what was asked for, one line per wording."""
    options = _options()
    complaints = 0
    print(f"{'model':<13} {'wording':<24} {'states':>9} {'steps':>5} {'secs':>6}  result")
    for topic in TOPICS:
        if options.names and topic.name not in options.names:
            continue
        for wording in topic.wordings:
            started = time.monotonic()
            verdict = judge(
                topic,
                wording,
                states_max=options.states,
                wider=options.wider,
                progress=partial(_show, f"{topic.name} {wording.name}"),
            )
            _line(verdict, time.monotonic() - started, options.traces)
            complaints += verdict.complaint is not None
    return 1 if complaints else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.models", description=__doc__)
    names = [topic.name for topic in TOPICS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--states", type=int, default=STATES_MAX, help="most states per wording")
    parser.add_argument("--wider", type=int, default=0, help="widen every bound by this much")
    parser.add_argument("--traces", action="store_true", help="print how each was caught")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"no such model: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return options


def _show(name: str, now: Progress) -> None:
    if sys.stderr.isatty():
        line = f"{name}: {now.states:,} states, {now.frontier:,} to expand, depth {now.depth}"
        print(f"\r{line:<90}", end="\r", file=sys.stderr, flush=True)


def _line(verdict: Verdict, secs: float, traces: bool) -> None:
    outcome = verdict.outcome
    if verdict.complaint:
        result = f"WRONG: {verdict.complaint}"
    elif outcome.sentence:
        result = f"caught: {outcome.sentence}"
    else:
        result = "passes, all states" if outcome.exhausted else "passes so far, bound reached"
    steps = len(outcome.trace) if outcome.sentence else outcome.depth
    name, wording = verdict.topic.name, verdict.wording.name
    print(f"{name:<13} {wording:<24} {outcome.states:>9,} {steps:>5} {secs:>6.1f}  {result}")
    if traces or verdict.complaint:
        for number, step in enumerate(outcome.trace, 1):
            print(f"    {number:>2}. {step}")


if __name__ == "__main__":
    raise SystemExit(main())
