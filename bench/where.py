"""`python -m bench.where FILE LOAD`: where a broker's processor time goes, from a recording.

    py-spy record -d 5 -r 400 -f raw -o FILE -p PID      while `python -m bench --only LOAD` runs

Stacks are put into groups by the functions in them, first match first; threads that wait for work
are left out. Kept in `where.jsonl`, from which `RESULTS.md` shows the newest of each load.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from bench.record import append_shares, commit

# A stack belongs to the first group of which it holds a function.
GROUPS = (
    ("state write (own thread)", ("StateStore.write",)),
    ("log write (own thread)", ("LogStore.write",)),
    ("machine: submit", ("submit_tasks ", "submit_task ")),
    ("machine: claim", ("claim_task ", "with_payloads ")),
    ("machine: complete, fail", ("task_results ", "task_result ", "ack ")),
    ("machine: entry and the rest", ("Machine.apply", "Machine.reply")),
    ("waiting", ("_worker (concurrent",)),
    ("entries: encode", ("Driver._pack",)),
    ("answers: encode", ("Session.deliver", "encode_reply")),
    ("answers: write to sockets", ("Session.flush", "Sessions._flush")),
    ("requests: decode and check", ("ServerConnection.receive",)),
    ("requests: dispatch", ("Session.data_received",)),
    ("driver, Raft, journal", ("Driver.",)),
)


def shares(recording: str) -> list[tuple[str, float]]:
    """(group, share of the time at work) of a recording in py-spy's raw format, largest first."""
    counts: Counter[str] = Counter()
    for line in recording.splitlines():
        stack, _, samples = line.rpartition(" ")
        counts[_group(stack)] += int(samples)
    del counts["waiting"]
    total = sum(counts.values())
    return [(group, count / total) for group, count in counts.most_common()]


def _group(stack: str) -> str:
    for group, functions in GROUPS:
        if any(function in stack for function in functions):
            return group
    return "event loop and the rest"


def main(path: str, load: str) -> None:
    """Prints the shares and keeps them."""
    found = shares(Path(path).read_text())
    for name, share in found:
        print(f"{share:6.1%}  {name}")
    append_shares({"commit": commit(), "load": load, "shares": dict(found)})


if __name__ == "__main__":
    main(*sys.argv[1:])
