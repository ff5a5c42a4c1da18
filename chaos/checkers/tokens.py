"""Tokens that nobody was told of: leases that a claim brought whose answer was lost.

Tokens are given out one by one, 1, 2, 3 ..., each once. A number that no answer holds, though a
greater one was seen, is a lease that no client knows; and by the claims around it, it is known when
it began.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from math import inf

from chaos.checkers.evidence import Evidence
from chaos.history import Call


class Untold:
    """The untold tokens of a history in ascending order, and for each the earliest and the latest
    moment at which it can have been given out (ascending, too)."""

    def __init__(self, evidence: Evidence) -> None:
        told = {grant.token: grant.claim for grants in evidence.grants.values() for grant in grants}
        seen = [task["token"] for task in evidence.final.tasks.values()]
        highest = max([*told, *seen], default=0)
        self.tokens = [token for token in range(1, highest + 1) if token not in told]
        order = sorted(told)
        # By place in `order`: the latest start up to here, the earliest end from here on.
        starts = list(accumulate((told[token].start for token in order), max))
        ends = list(accumulate((told[token].end for token in reversed(order)), min))[::-1]
        places = [bisect_left(order, token) for token in self.tokens]
        self.since = [starts[place - 1] if place else -inf for place in places]
        self.until = [ends[place] if place < len(ends) else inf for place in places]

    def __contains__(self, token: int) -> bool:
        place = bisect_left(self.tokens, token)
        return place < len(self.tokens) and self.tokens[place] == token

    def next(self, above: int, not_before: float) -> tuple[int, float, float] | None:
        """The first one above a token that may have been given out at `not_before` or later: the
        token, and its earliest and latest moment."""
        place = max(bisect_right(self.tokens, above), bisect_left(self.until, not_before))
        if place == len(self.tokens):
            return None
        return self.tokens[place], max(self.since[place], not_before), self.until[place]

    def any_after(self, moment: float, below: int) -> bool:
        """Whether one below a token may have been given out at `moment` or later."""
        place = bisect_left(self.tokens, below) - 1
        return place >= 0 and self.until[place] >= moment


def leases_are_told(evidence: Evidence) -> Iterator[str]:
    """P4: a lease that no client was told of comes from a claim whose answer was lost or that was
    repeated, or was taken away in the very moment (by a forced cancel, or by its worker's leave).

    What a client repeated may come late, long after the answer to the repeat: a worker that was
    taken for dead meanwhile is given new tasks for it.
    """
    lost = [call.start for call in evidence.claims if _may_be_lost(evidence, call)]
    first = min(lost, default=inf)
    untold = Untold(evidence)
    for token, since, until in zip(untold.tokens, untold.since, untold.until, strict=True):
        if first > until and not _taken_at_once(evidence, since, until):
            yield f"token {token}: given out between {since:.3f} and {until:.3f}, and told nobody"


def _may_be_lost(evidence: Evidence, call: Call) -> bool:
    return call.maybe and (not call.ok or evidence.may_be_repeated(call))


def _taken_at_once(evidence: Evidence, since: float, until: float) -> bool:
    """Whether something that takes leases away was under way together with a claim."""
    forced = (call for calls in evidence.cancels.values() for call in calls if call.args["force"])
    gone = (call for calls in evidence.deregistered.values() for call in calls)
    takers = [
        (max(call.start, since), min(call.end if call.ok else inf, until))
        for call in (*forced, *gone)
        if call.maybe
    ]
    return any(
        max(call.start, start) <= min(call.end, end)
        for start, end in takers
        if start <= end
        for call in evidence.claims
    )
