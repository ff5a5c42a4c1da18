"""The page `README.md`, made from the rules: `python -m chaos.checkers.page`."""

from __future__ import annotations

import inspect
from pathlib import Path

from chaos.checkers import CHECKERS

PAGE = Path(__file__).with_name("README.md")

HEAD = """\
# Rules that judge a history

Made from the files beside it by `python -m chaos.checkers.page > chaos/checkers/README.md`.

A history (`chaos/history.py`) is what clients did and heard, call by call, what struck meanwhile,
and what is there at the end. Every rule is a pure function from that to sentences, one for each
breach. No rule knows anything of the code; where a call had no answer, or may have been carried out
twice, both are allowed, so what a rule reports has no innocent explanation.

    python -m chaos.checkers FILE                      # judge a history that was kept
    python -m chaos.checkers FILE --rate 0.9 1.1       # clocks of nodes ran at these rates

Monotonic clocks of nodes that run wrong (libfaketime: rate, jumps) widen the bounds that they may
have touched: `Kill.clock` in the history says how wrong and when, or `Evidence(history,
clock_rate=..., clock_jump_secs=...)` is told for all of it. Otherwise there is no allowance but for
the rounding to milliseconds. Wrong wall clocks need none: leases and delays do not use them.

Each rule is shown to find its own harm in a history made by hand
(`tests/unit/chaos/test_checkers.py`), and lies told in the history of a real run
(`tests/unit/chaos/sabotage.py`). Order, bounds of time and the search have tests of their own
beside these; the search is compared with trying all orders.
"""

TAIL = """\
## Not judged here

| rule | where | test |
|---|---|---|
| all nodes hold the same, in what they say and on their disks (P6) | `chaos/live/alike.py` | \
`tests/unit/chaos/live/test_alike.py` |
| time without service, per fault | `chaos/live/gaps.py` | `tests/unit/chaos/live/test_gaps.py` |
| stale reads, TTLs, order at every entry, equal maps at every index | `chaos/sim/` | \
builds that are broken on purpose, `chaos/sim/broken.py` |

## How `linearizable` works

The calls of each task are searched for one order in which each takes effect between its start and
its end and the small model of `task_model.py` gives all the answers (Wing and Gong, with Lowe's
memory of what was tried: `search.py`). Between the calls a lease may end and a delay may pass, not
before their time; each step is put at its earliest moment, which loses nothing, as all other bounds
are ends of calls. A call without an answer may take effect at any later moment, or never. A lease
that no client was told of is possible only where a token is missing (`tokens.py`). A search that
takes more than 20,000 steps decides nothing: such tasks are counted, and the run is not green.
"""

# Rule -> what a live system does that is broken in this way.
CATCHES = {
    "acknowledged_submits": "acknowledges before the disk has it, and loses power; drops the end of"
    " a log; serves from an empty disk; changes a field on the way",
    "refused_submits": "carries out what it refused",
    "one_task_per_id": "makes a second task of a repeated submit; an index and the records differ",
    "sums": "counts a replayed entry twice; forgets a task on its way between two states",
    "nothing_hangs": "forgets timers at a change of leader or a restart: a lease or a delay that"
    " never ends",
    "payloads": "mixes up or cuts payloads; makes up tasks",
    "ready_is_given_out": "keeps a task and loses its place in the queue, or keeps it in two;"
    " damages payloads that nobody has asked for yet",
    "one_completion": "accepts completions of two workers; keeps the result of the one that lost",
    "outcomes_stay": "loses an acknowledged completion, failure or cancel; gives out ended tasks",
    "reads_see_submits": "a deposed leader, or a follower, answers reads as if it led",
    "refused_outcomes": "answers a repeated completion with STALE_TOKEN though it was carried out",
    "stale_tokens": "does not compare tokens; keeps an old lease alive by a heartbeat",
    "leases_end_late": "gives a held task to another; a new leader, or a clock that jumped, ends"
    " leases too early",
    "leases_end_in_time": "lets an abandoned lease live on: its time stands still, or an expiry is"
    " forgotten at a change of leader",
    "tokens_grow": "gives out a token again after a restart or an election",
    "leases_are_told": "leases a task in a claim and leaves it out of the answer",
    "never_early": "runs a scheduled or retried task too early",
    "in_order": "loses the order at a restart (dict or set order); mixes up priorities; a window of"
    " the queue that leaves out tasks",
    "linearizable": "answers old reads, counts attempts wrongly, forgets wanted cancels, gives"
    " answers that do not fit together; nearly all of the above once more",
    "service_returns": "never serves again after a fault",
}


def render() -> str:
    """The whole page."""
    rows = ["| rule | promise | finds a system that |", "|---|---|---|"]
    for check in CHECKERS:
        name, file = check.__name__, check.__module__.rpartition(".")[2]
        promise = " ".join((inspect.getdoc(check) or "").split())
        rows.append(f"| [`{name}`]({file}.py) | {promise} | {CATCHES[name]} |")
    return "\n".join([HEAD, *rows, "", TAIL]).rstrip() + "\n"


if __name__ == "__main__":
    print(render(), end="")
