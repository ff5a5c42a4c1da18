"""Who may be first (P5): by priority, then in the order of the submits.

Only sure inversions count. Tokens tell which of two claims came first, even where they overlap. A
task stood in its queue when another was taken if its submit had been acknowledged before, it has no
delay, and it was given out later than the other, for the first time. Where a token that nobody was
told of may have been for it, nothing is said of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product
from math import inf
from typing import NamedTuple

from chaos.checkers.evidence import Evidence
from chaos.checkers.tokens import Untold


class Stay(NamedTuple):
    """A task that stood in its queue from `since` (seconds) until it was given out under `token`
    (infinite: it stands there yet)."""

    since: float
    token: float
    task_id: str


class Start(NamedTuple):
    """A task that was given out first under `token`: submitted after `submitted`, and the claim
    began after `claimed` (seconds)."""

    submitted: float
    claimed: float
    token: int
    task_id: str


def in_order(evidence: Evidence) -> Iterator[str]:
    """P5: by priority, then in the order of the submits, no task is given out while another that
    comes before it stands in the same queue. Not for queues that age."""
    untold = Untold(evidence)
    stays: dict[str, dict[int, list[Stay]]] = defaultdict(lambda: defaultdict(list))
    starts: dict[str, dict[int, list[Start]]] = defaultdict(lambda: defaultdict(list))
    for task_id, calls in evidence.submits.items():
        args = calls[0].args
        if args["queue"] in evidence.ageing:
            continue
        place = args["queue"], args["priority"]
        if (stay := _stay(evidence, untold, task_id)) is not None:
            stays[place[0]][place[1]].append(stay)
        if grants := evidence.grants.get(task_id):
            submitted = min(call.start for call in calls)
            first = grants[0]
            starts[place[0]][place[1]].append(
                Start(submitted, first.claim.start, first.token, task_id)
            )
    for queue, waiting in stays.items():
        for (high, ours), (low, theirs) in product(waiting.items(), starts[queue].items()):
            if high > low:
                moments = [(one.claimed, one) for one in theirs]
                yield from _inversions(ours, moments, f"of priority {low} before {high}")
            elif high == low:
                moments = [(one.submitted, one) for one in theirs]
                yield from _inversions(ours, moments, f"of priority {low}, submitted later")


def _stay(evidence: Evidence, untold: Untold, task_id: str) -> Stay | None:
    """None where it is not sure that the task stood in its queue without a break."""
    calls = evidence.submits[task_id]
    asked = calls[0].args
    acknowledged = min((call.end for call in calls if call.ok), default=inf)
    delayed = asked["delay_secs"] or asked.get("dated") or asked.get("ttl_secs") is not None
    if acknowledged == inf or delayed:
        return None
    found = evidence.final.tasks.get(task_id, {})
    grants = evidence.grants.get(task_id)
    if not grants:
        never = found.get("state") == "READY" and found["token"] == 0
        return Stay(acknowledged, inf, task_id) if never else None
    first = grants[0]
    if untold.any_after(min(call.start for call in calls), first.token):
        return None
    return Stay(acknowledged, first.token, task_id)


def _inversions(
    ours: Iterable[Stay], theirs: Iterable[tuple[float, Start]], how: str
) -> Iterator[str]:
    """Of `theirs`, each with its moment, those that were given out before one of `ours` that stood
    in the queue at that moment."""
    standing = sorted(ours)
    latest, place = Stay(-inf, -inf, ""), 0
    for moment, start in sorted(theirs):
        while place < len(standing) and standing[place].since < moment:
            latest = max(latest, standing[place], key=lambda stay: stay.token)
            place += 1
        if latest.token > start.token:
            yield (
                f"task {start.task_id}: given out under {start.token}, {how}, while"
                f" {latest.task_id} stood in the queue (until {latest.token})"
            )
