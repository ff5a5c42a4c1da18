"""A history with its final read-out, sorted by task and by token. What rules are judged by."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate
from math import inf
from typing import Any, NamedTuple

from chaos.checkers.clocks import Clocks, Skew
from chaos.history import Call, Final, History

FINAL = frozenset({"COMPLETED", "DEAD", "CANCELLED", "EXPIRED"})
OUTCOMES = ("complete", "fail", "release")


class Grant(NamedTuple):
    """A task under a token, and the claim that brought it. `lease_secs`: the lease cannot end by
    itself before, be it by its own length or by the death of its worker; `full_secs`: its own
    length. `attempt`: the number of the run, None where the history does not tell."""

    task_id: str
    token: int
    lease_secs: float
    claim: Call
    crc: int
    full_secs: float
    attempt: int | None


class Evidence:
    """See the module. Beside what the history itself says of its clocks: `clock_rate`: the slowest
    and the fastest that cluster time may run, measured by the clock of the history, and
    `clock_jump_secs`: what jumps may add or take, near each moment."""

    def __init__(
        self,
        history: History,
        *,
        clock_rate: tuple[float, float] = (1.0, 1.0),
        clock_jump_secs: float = 0.0,
    ) -> None:
        assert history.final is not None, "without a read-out nothing can be judged"
        self.history = history
        self.final: Final = history.final
        told = Skew(-inf, inf, *clock_rate, clock_jump_secs)
        self.clocks = Clocks(
            [
                told,
                *(
                    Skew(kill.at, max(kill.at, kill.over), *kill.clock)
                    for kill in history.kills
                    if kill.clock
                ),
            ]
        )
        self.submits: dict[str, list[Call]] = defaultdict(list)
        self.outcomes: dict[int, list[Call]] = defaultdict(list)
        self.extensions: dict[int, list[Call]] = defaultdict(list)
        self.cancels: dict[str, list[Call]] = defaultdict(list)
        self.statuses: dict[str, list[Call]] = defaultdict(list)
        self.grants: dict[str, list[Grant]] = defaultdict(list)
        self.deregistered: dict[str, list[Call]] = defaultdict(list)
        self.claims: list[Call] = []
        self.ageing: set[str] = set()
        for call in history.calls:
            self._sort(call)
        for grants in self.grants.values():
            grants.sort(key=lambda grant: grant.token)
        kills = sorted(history.kills, key=lambda kill: kill.at)
        self._struck = [kill.at for kill in kills]
        # By the same places: when all faults up to this one were over.
        self._over = list(accumulate((max(kill.at, kill.over) for kill in kills), max))

    def _sort(self, call: Call) -> None:
        args = call.args
        if call.kind == "submit":
            self.submits[args["id"]].append(call)
        elif call.kind in OUTCOMES:
            self.outcomes[args["token"]].append(call)
        elif call.kind == "extend":
            self.extensions[args["token"]].append(call)
        elif call.kind == "heartbeat":
            for token in args["tokens"]:
                self.extensions[token].append(call)
        elif call.kind == "cancel":
            self.cancels[args["id"]].append(call)
        elif call.kind == "status":
            self.statuses[args["id"]].append(call)
        elif call.kind == "deregister":
            self.deregistered[args["worker"]].append(call)
        elif call.kind == "claim":
            self.claims.append(call)
            for one in call.reply.get("grants", ()):
                self.grants[one["id"]].append(_grant(one, call))
        elif call.kind == "queue" and args.get("ageing_ms"):
            self.ageing.add(args["queue"])

    @property
    def task_ids(self) -> set[str]:
        """Every task that the history or the read-out knows."""
        return {*self.submits, *self.grants, *self.statuses, *self.cancels, *self.final.tasks}

    def completions(self, task_id: str) -> list[Call]:
        """The accepted completions of a task."""
        tokens = {grant.token for grant in self.grants.get(task_id, ())}
        found = (call for token in tokens for call in self.outcomes.get(token, ()))
        return [
            call
            for call in found
            if call.kind == "complete" and call.ok and call.reply["state"] == "COMPLETED"
        ]

    def may_be_repeated(self, call: Call) -> bool:
        """Whether something happened during the call that makes a client repeat it: what it tells
        is of its last attempt, and an earlier one may have been carried out, too."""
        return self.fault_between(call.start, call.end)

    def fault_between(self, since: float, until: float) -> bool:
        """Whether a fault was under way, or struck, at some moment between these."""
        place = bisect_left(self._struck, until) - 1
        return place >= 0 and self._over[place] > since

    def may_have_run(self, call: Call) -> bool:
        """Whether the call may have been carried out.

        A client tells of its last attempt: a release or failure that was carried out just before
        the node was killed is repeated, and is stale by then if the task has a newer token.
        """
        repeated = call.code == "STALE_TOKEN" and call.kind in ("fail", "release")
        return call.maybe or (repeated and self.may_be_repeated(call))

    def may_have_ended(self, grant: Grant, until: float) -> bool:
        """Whether something other than time may have ended the lease before `until`."""
        own = self.outcomes.get(grant.token, ())
        forced = (call for call in self.cancels.get(grant.task_id, ()) if call.args["force"])
        gone = self.deregistered.get(grant.claim.args["worker"], ())
        return any(
            self.may_have_run(call) and call.start <= until
            for calls in (own, forced, gone)
            for call in calls
        )

    def held_until(self, grant: Grant) -> float:
        """The lease cannot have run out before this moment."""
        starts = [grant.claim.start]
        for call in self.extensions.get(grant.token, ()):
            if call.ok and grant.token not in call.reply.get("invalid", ()):
                starts.append(call.start)
        return max(start + self.clocks.at_least(grant.lease_secs, start) for start in starts)


def _grant(one: dict[str, Any], call: Call) -> Grant:
    full = one["lease_secs"]
    lease = min(full, call.args["dead_secs"])
    return Grant(
        *(one["id"], one["token"], lease, call, one["crc"]),
        *(full, one.get("attempt")),
    )
