"""Promises, checked over a recorded history and what the node says at the end. Pure functions.

Each checker takes an `Evidence` and yields one sentence per violation. An unknown outcome may be
either. Only order in real time is relied on: what ended before something else began came first.
Cluster time never runs faster than the clock of the history, which gives the bounds for leases and
delays.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from chaos.history import Call, Final, History

# Stamps are whole milliseconds.
ROUNDING_SECS = 0.003
FINAL = frozenset({"COMPLETED", "DEAD", "CANCELLED", "EXPIRED"})
OUTCOMES = ("complete", "fail", "release")


class Grant(NamedTuple):
    """A task under a token, and the claim that brought it."""

    task_id: str
    token: int
    lease_secs: float
    claim: Call
    crc: int


class Evidence:
    """A history with its final read-out, sorted by task and by token."""

    def __init__(self, history: History) -> None:
        assert history.final is not None, "without a read-out nothing can be judged"
        self.history = history
        self.final: Final = history.final
        self.submits: dict[str, list[Call]] = defaultdict(list)
        self.outcomes: dict[int, list[Call]] = defaultdict(list)
        self.extensions: dict[int, list[Call]] = defaultdict(list)
        self.cancels: dict[str, list[Call]] = defaultdict(list)
        self.statuses: dict[str, list[Call]] = defaultdict(list)
        self.grants: dict[str, list[Grant]] = defaultdict(list)
        self.deregistered: dict[str, list[Call]] = defaultdict(list)
        for call in history.calls:
            self._sort(call)
        for grants in self.grants.values():
            grants.sort(key=lambda grant: grant.token)

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
            for one in call.reply.get("grants", ()):
                lease = min(one["lease_secs"], args["dead_secs"])
                grant = Grant(one["id"], one["token"], lease, call, one["crc"])
                self.grants[one["id"]].append(grant)

    def completions(self, task_id: str) -> list[Call]:
        """The accepted completions of a task."""
        tokens = {grant.token for grant in self.grants.get(task_id, ())}
        found = (call for token in tokens for call in self.outcomes.get(token, ()))
        return [
            call
            for call in found
            if call.kind == "complete" and call.ok and call.reply["state"] == "COMPLETED"
        ]

    def may_have_run(self, call: Call) -> bool:
        """Whether the call may have been carried out.

        A client tells of its last attempt: a release or failure that was carried out just before
        the node was killed is repeated, and is stale by then if the task has a newer token.
        """
        repeated = call.code == "STALE_TOKEN" and call.kind in ("fail", "release")
        return call.maybe or (
            repeated
            and any(
                call.start < max(kill.at, kill.over) and kill.at < call.end
                for kill in self.history.kills
            )
        )

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
        return max(starts) + grant.lease_secs - ROUNDING_SECS


def acknowledged_submits(evidence: Evidence) -> Iterator[str]:
    """P1: what was acknowledged is there; nothing is removed in these runs."""
    tasks = evidence.final.tasks
    for task_id, calls in evidence.submits.items():
        acknowledged = next((call for call in calls if call.ok), None)
        if acknowledged is None:
            continue
        if task_id not in tasks:
            yield f"task {task_id}: acknowledged at {acknowledged.end:.3f} and gone"
            continue
        found, asked = tasks[task_id], acknowledged.args
        for name in ("queue", "priority", "size"):
            if found[name] != asked[name]:
                yield f"task {task_id}: {name} {asked[name]!r} became {found[name]!r}"


def refused_submits(evidence: Evidence) -> Iterator[str]:
    """A task that is there was submitted, and not only by calls that were refused."""
    for task_id in evidence.final.tasks:
        calls = evidence.submits.get(task_id, [])
        if not any(call.maybe for call in calls):
            yield f"task {task_id}: exists, though no submit of it can have been carried out"


def one_task_per_id(evidence: Evidence) -> Iterator[str]:
    """P4: as many tasks were ever made as there are ids; both doors tell the same states."""
    final = evidence.final
    submitted = final.totals["submitted"]
    listed = len(final.tasks) + final.totals["removed"]
    if submitted != listed:
        yield f"{submitted} submits were counted, and there are {listed} tasks"
    for task_id, state in final.statuses.items():
        found = final.tasks.get(task_id, {}).get("state", "NOT_FOUND")
        if state != found:
            yield f"task {task_id}: the listing says {found}, its status {state}"


def sums(evidence: Evidence) -> Iterator[str]:
    """P2: submitted = sum over the states + removed, and the counts are those of the tasks."""
    final = evidence.final
    total = sum(final.states.values()) + final.totals["removed"]
    if final.totals["submitted"] != total:
        yield f"submitted {final.totals['submitted']} is not states + removed = {total}"
    counted = Counter(task["state"].lower() for task in final.tasks.values())
    for state, count in final.states.items():
        if counted[state] != count:
            yield f"the statistics count {count} {state}, the listing {counted[state]}"
    if final.totals["removed"] == 0 and final.totals["completed"] != counted["completed"]:
        yield f"completed {final.totals['completed']} times, {counted['completed']} tasks are"


def nothing_hangs(evidence: Evidence) -> Iterator[str]:
    """P2: delays, retries and leases of a few seconds are over when all has been quiet for long."""
    for task_id, task in evidence.final.tasks.items():
        if task["state"] in ("SCHEDULED", "RETRYING", "LEASED"):
            yield f"task {task_id}: still {task['state']}"


def one_completion(evidence: Evidence) -> Iterator[str]:
    """P4: at most one token of a task completes it, and its result is the one that stays."""
    for task_id in evidence.grants:
        accepted = evidence.completions(task_id)
        tokens = sorted({call.args["token"] for call in accepted})
        if len(tokens) > 1:
            yield f"task {task_id}: completed under the tokens {tokens}"
        if accepted and task_id in evidence.final.tasks:
            found, wanted = evidence.final.tasks[task_id], accepted[0].args["result"]
            if found["state"] == "COMPLETED" and found["result"] != wanted:
                yield f"task {task_id}: result {wanted!r} became {found['result']!r}"


def outcomes_stay(evidence: Evidence) -> Iterator[str]:
    """An acknowledged end of a task (by outcome or cancel) is its end for ever."""
    for calls in (*evidence.outcomes.values(), *evidence.cancels.values()):
        for call in calls:
            if call.ok and call.reply["state"] in FINAL:
                yield from _stays(evidence, call, call.reply["state"])
            elif call.ok and call.reply.get("requested"):
                found = evidence.final.tasks.get(call.args["id"])
                if found is None or found["state"] not in ("COMPLETED", "CANCELLED", "LEASED"):
                    state = found and found["state"]
                    yield f"task {call.args['id']}: its cancel was wanted while it ran, now {state}"


def _stays(evidence: Evidence, call: Call, state: str) -> Iterator[str]:
    task_id = call.args["id"]
    found = evidence.final.tasks.get(task_id)
    if found is None or found["state"] != state:
        now = "gone" if found is None else found["state"]
        yield f"task {task_id}: {call.kind} acknowledged as {state} at {call.end:.3f}, now {now}"
    for seen in evidence.statuses.get(task_id, ()):
        if seen.ok and seen.start > call.end and seen.reply["state"] != state:
            yield (
                f"task {task_id}: {state} at {call.end:.3f}, but {seen.reply['state']} when asked"
                f" at {seen.start:.3f}"
            )
    for grant in evidence.grants.get(task_id, ()):
        if grant.claim.start > call.end:
            yield f"task {task_id}: {state} at {call.end:.3f}, claimed at {grant.claim.start:.3f}"


def reads_see_submits(evidence: Evidence) -> Iterator[str]:
    """P7: who asks after an acknowledgement sees the task."""
    for task_id, calls in evidence.statuses.items():
        acknowledged = min(
            (call.end for call in evidence.submits.get(task_id, ()) if call.ok),
            default=float("inf"),
        )
        for call in calls:
            if call.code == "NOT_FOUND" and call.start > acknowledged:
                yield f"task {task_id}: acknowledged at {acknowledged:.3f}, not found later"


def stale_tokens(evidence: Evidence) -> Iterator[str]:
    """P3: once a newer token is in somebody's hands, nothing is accepted from an older one."""
    for task_id, grants in evidence.grants.items():
        for older, newer in pairwise(grants):
            calls = [*evidence.outcomes.get(older.token, ())]
            for call in calls:
                if call.ok and call.start > newer.claim.end:
                    yield (
                        f"task {task_id}: {call.kind} with token {older.token} accepted at"
                        f" {call.end:.3f}, though {newer.token} was out at {newer.claim.end:.3f}"
                    )
            for call in evidence.extensions.get(older.token, ()):
                valid = call.ok and older.token not in call.reply.get("invalid", ())
                if valid and call.start > newer.claim.end:
                    yield f"task {task_id}: {call.kind} of the old token {older.token} accepted"


def leases_end_late(evidence: Evidence) -> Iterator[str]:
    """P3, P8: the next lease of a task begins after the last one was ended or had run out, and
    nobody is told that a token is stale before that."""
    for task_id, grants in evidence.grants.items():
        for older, newer in pairwise(grants):
            until = newer.claim.end
            held = evidence.held_until(older)
            if until < held and not evidence.may_have_ended(older, until):
                yield (
                    f"task {task_id}: token {newer.token} was out at {until:.3f}, though"
                    f" {older.token} was valid until {held:.3f}"
                )
        for grant in grants:
            yield from _refused_early(evidence, grant)


def _refused_early(evidence: Evidence, grant: Grant) -> Iterator[str]:
    own = evidence.outcomes.get(grant.token, [])
    for call in (*own, *evidence.extensions.get(grant.token, ())):
        stale = call.code == "STALE_TOKEN" or grant.token in call.reply.get("invalid", ())
        others = [one for one in own if evidence.may_have_run(one) and one.start <= call.end]
        forced = [
            one
            for one in evidence.cancels.get(grant.task_id, ())
            if one.args["force"] and one.maybe and one.start <= call.end
        ]
        gone = evidence.deregistered.get(grant.claim.args["worker"], ())
        if stale and call.end < evidence.held_until(grant) and not (others or forced or gone):
            yield (
                f"task {grant.task_id}: {call.kind} with token {grant.token} refused as stale at"
                f" {call.end:.3f}, though its lease lasted until {evidence.held_until(grant):.3f}"
            )


def refused_outcomes(evidence: Evidence) -> Iterator[str]:
    """P4: a completion that was carried out is not answered with a refusal, repeats included."""
    for task_id, grants in evidence.grants.items():
        found = evidence.final.tasks.get(task_id)
        if found is None or found["state"] != "COMPLETED":
            continue
        for grant in grants:
            calls = evidence.outcomes.get(grant.token, [])
            mine = [call for call in calls if call.args.get("result") == found["result"]]
            if mine and not any(call.maybe for call in mine):
                yield f"task {task_id}: completed by token {grant.token}, and that was refused"


def tokens_grow(evidence: Evidence) -> Iterator[str]:
    """P3: a token is given out once, and a later claim gets greater ones than an earlier."""
    seen: dict[int, Grant] = {}
    grants = [grant for grants in evidence.grants.values() for grant in grants]
    for grant in grants:
        other = seen.setdefault(grant.token, grant)
        if other.claim is not grant.claim or other.task_id != grant.task_id:
            yield f"token {grant.token}: given out for {other.task_id} and for {grant.task_id}"
    ends = sorted(grants, key=lambda grant: grant.claim.end)
    highest, position = 0, 0
    for grant in sorted(grants, key=lambda grant: grant.claim.start):
        while position < len(ends) and ends[position].claim.end < grant.claim.start:
            highest = max(highest, ends[position].token)
            position += 1
        if grant.token <= highest:
            yield f"token {grant.token}: given out after {highest}"
    for task_id, own in evidence.grants.items():
        found = evidence.final.tasks.get(task_id)
        if found is not None and found["token"] < own[-1].token:
            yield f"task {task_id}: token {own[-1].token} became {found['token']}"


def payloads(evidence: Evidence) -> Iterator[str]:
    """Workers get the payload that was submitted."""
    for task_id, grants in evidence.grants.items():
        submits = evidence.submits.get(task_id)
        if not submits:
            yield f"task {task_id}: claimed, but never submitted"
        elif any(grant.crc != submits[0].args["crc"] for grant in grants):
            yield f"task {task_id}: claimed with another payload"


def never_early(evidence: Evidence) -> Iterator[str]:
    """P5: no run before a delay has passed: that of the submit, of a release or of a retry."""
    for task_id, grants in evidence.grants.items():
        submits = [call for call in evidence.submits.get(task_id, ()) if call.maybe]
        for call in submits[:1]:
            first = min(one.start for one in submits)
            yield from _early(task_id, grants, first + call.args["delay_secs"], "submit")
        for older, newer in pairwise(grants):
            accepted = [call for call in evidence.outcomes.get(older.token, ()) if call.ok]
            for call in accepted:
                first = min(one.start for one in evidence.outcomes[older.token])
                # Jitter of a retry: 20 %.
                delay = call.args.get("delay_secs", 0.0)
                if call.reply["state"] == "RETRYING":
                    delay = 0.8 * call.args["backoff_secs"]
                yield from _early(task_id, [newer], first + delay, call.kind)


def _early(task_id: str, grants: list[Grant], due: float, why: str) -> Iterator[str]:
    for grant in grants:
        if grant.claim.end < due - ROUNDING_SECS:
            yield f"task {task_id}: claimed at {grant.claim.end:.3f}, due at {due:.3f} ({why})"


def repeated_claim(first: Call, again: Call) -> str | None:
    """P4: a claim asked once more brings none but its own tasks.

    `again` has the same worker and number. A worker that may have been taken for dead since is
    forgotten with its numbers: then a repeat counts as a first claim, under new tokens.
    """
    if not again.ok or again.end >= first.start + first.args["dead_secs"]:
        return None
    before = {one["token"] for one in first.reply["grants"]}
    now = {one["token"] for one in again.reply["grants"]}
    if now <= before:
        return None
    return f"claim repeated: tokens {sorted(now)}, before {sorted(before)}"


CHECKERS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    *(acknowledged_submits, refused_submits, one_task_per_id, sums, nothing_hangs),
    *(one_completion, outcomes_stay, reads_see_submits, stale_tokens, leases_end_late),
    *(refused_outcomes, tokens_grow, payloads, never_early),
)


def violations(history: History) -> list[str]:
    """Every broken promise, each with the name of its checker."""
    evidence = Evidence(history)
    return [f"{check.__name__}: {line}" for check in CHECKERS for line in check(evidence)]
