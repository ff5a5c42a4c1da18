"""Lies told in a true history: what a broken product would have made of it.

Each one changes one thing, in a place drawn by `chance`, and keeps the rest as consistent as such a
product would: a lost task is missing in the counts, too. False where the history has no such place.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

from chaos.checkers import Evidence
from chaos.checkers.evidence import Grant
from chaos.history import REFUSED, Call, Final, History

Lie = Callable[[History, random.Random], bool]


def _final(history: History) -> Final:
    assert history.final is not None
    return history.final


def _becomes(history: History, task_id: str, state: str, **more: object) -> None:
    """The task ends otherwise, and everything that counts it agrees."""
    final = _final(history)
    found = final.tasks[task_id]
    final.states[found["state"].lower()] -= 1
    final.states[state.lower()] = final.states.get(state.lower(), 0) + 1
    final.totals["completed"] += (state == "COMPLETED") - (found["state"] == "COMPLETED")
    found.update(state=state, **more)
    final.statuses[task_id] = state


def _in_state(history: History, state: str) -> list[str]:
    return [one for one, found in _final(history).tasks.items() if found["state"] == state]


def _accepted(history: History, kind: str) -> list[Call]:
    """Accepted calls under the last token of their task."""
    tasks = _final(history).tasks
    return [
        call
        for call in history.of(kind)
        if call.ok and tasks[call.args["id"]]["token"] == call.args["token"]
    ]


def _granted(history: History, chance: random.Random) -> Grant:
    grants = Evidence(history).grants
    return chance.choice([grant for own in grants.values() for grant in own])


# --- lost, doubled, changed -----------------------------------------------------------------------


def lose_a_task(history: History, chance: random.Random) -> bool:
    """An acknowledged task is gone."""
    final = _final(history)
    task_id = chance.choice([call.args["id"] for call in history.of("submit") if call.ok])
    found = final.tasks.pop(task_id)
    final.statuses[task_id] = "NOT_FOUND"
    final.states[found["state"].lower()] -= 1
    final.totals["submitted"] -= 1
    final.totals["completed"] -= found["state"] == "COMPLETED"
    return True


def lose_a_completion(history: History, chance: random.Random) -> bool:
    """An acknowledged completion is forgotten: the task waits again."""
    call = chance.choice(_accepted(history, "complete"))
    _becomes(history, call.args["id"], "READY", result=None)
    return True


def lose_a_failure(history: History, chance: random.Random) -> bool:
    """A task that failed for good waits again."""
    calls = [call for call in _accepted(history, "fail") if call.reply["state"] == "DEAD"]
    if calls:
        _becomes(history, chance.choice(calls).args["id"], "READY")
    return bool(calls)


def lose_a_cancel(history: History, chance: random.Random) -> bool:
    """A cancelled task waits again."""
    ids = _in_state(history, "CANCELLED")
    if ids:
        _becomes(history, chance.choice(ids), "READY")
    return bool(ids)


def swap_two_results(history: History, chance: random.Random) -> bool:
    """Each of two tasks has the result of the other."""
    tasks = _final(history).tasks
    one, other = chance.sample(_in_state(history, "COMPLETED"), 2)
    tasks[one]["result"], tasks[other]["result"] = tasks[other]["result"], tasks[one]["result"]
    return True


def count_a_completion_twice(history: History, chance: random.Random) -> bool:
    """The counters moved twice for one task."""
    _final(history).totals["completed"] += 1
    return True


def change_a_payload(history: History, chance: random.Random) -> bool:
    """A worker gets another payload than was submitted."""
    claim = chance.choice([call for call in history.of("claim") if call.reply.get("grants")])
    chance.choice(claim.reply["grants"])["crc"] ^= 1
    return True


def change_a_priority(history: History, chance: random.Random) -> bool:
    """A task has another priority than it was submitted with."""
    call = chance.choice([call for call in history.of("submit") if call.ok])
    _final(history).tasks[call.args["id"]]["priority"] += 1
    return True


# --- tokens and leases ----------------------------------------------------------------------------


def accept_a_stale_completion(history: History, chance: random.Random) -> bool:
    """What was refused as stale is accepted."""
    calls = [call for call in history.of("complete") if call.code == "STALE_TOKEN"]
    if calls:
        call = chance.choice(calls)
        call.outcome, call.code, call.reply = "ok", "", {"state": "COMPLETED"}
    return bool(calls)


def refuse_a_completion(history: History, chance: random.Random) -> bool:
    """What was carried out is answered as stale."""
    call = chance.choice(_accepted(history, "complete"))
    for one in history.of("complete"):
        if one.args["token"] == call.args["token"]:
            one.outcome, one.code, one.reply = REFUSED, "STALE_TOKEN", {}
    return True


def give_out_a_held_task(history: History, chance: random.Random) -> bool:
    """Another worker gets a task that is held, under a new token."""
    grant = _granted(history, chance)
    done = next((one for one in history.of("complete", "fail", "release") if _is(one, grant)), None)
    if done is None or done.start - grant.claim.end < 0.001:
        return False
    moment = (grant.claim.end + done.start) / 2
    highest = max(found["token"] for found in _final(history).tasks.values())
    given = {"id": grant.task_id, "token": highest + 1, "queue": "", "crc": grant.crc}
    args = {"worker": "ff" * 16, "lease_secs": 3.0, "dead_secs": 3.0}
    reply = {"grants": [{**given, "attempt": 1, "lease_secs": 3.0}]}
    history.calls.append(Call("claim", moment, args, moment, "ok", "", reply))
    return True


def _is(call: Call, grant: Grant) -> bool:
    return bool(call.args["token"] == grant.token)


def end_a_lease_early(history: History, chance: random.Random) -> bool:
    """A worker is told that its token is not valid, while it is."""
    calls = [call for call in history.of("heartbeat") if call.ok and not call.reply["invalid"]]
    call = chance.choice(calls)
    call.reply["invalid"] = call.args["tokens"]
    return True


def forget_a_token(history: History, chance: random.Random) -> bool:
    """The last token of a task becomes smaller."""
    task_id = chance.choice(_in_state(history, "COMPLETED"))
    _final(history).tasks[task_id]["token"] -= 1
    return True


def give_a_token_twice(history: History, chance: random.Random) -> bool:
    """Two tasks get the same token."""
    one, other = chance.sample(
        [grant for call in history.of("claim") for grant in call.reply.get("grants", ())], 2
    )
    one["token"] = other["token"]
    return True


# --- time, order, reads ---------------------------------------------------------------------------


def start_a_task_early(history: History, chance: random.Random) -> bool:
    """A task with a delay was given out before it was over."""
    given = Evidence(history).grants
    calls = [
        call
        for call in history.of("submit")
        if call.args["delay_secs"] and call.args["id"] in given
    ]
    if calls:
        task_id = chance.choice(calls).args["id"]
        for call in history.of("submit"):
            if call.args["id"] == task_id:
                call.args["delay_secs"] += 5.0
    return bool(calls)


def reclaim_a_lease_early(history: History, chance: random.Random) -> bool:
    """A lease that ran out was longer, and so ran out too soon."""
    evidence = Evidence(history)
    found = []
    for own in evidence.grants.values():
        for older, newer in pairwise(own):
            if not evidence.may_have_ended(older, newer.claim.end):
                found.append(older)
    if not found:
        return False
    grant = chance.choice(found)
    grant.claim.args["dead_secs"] = 60.0
    for one in grant.claim.reply["grants"]:
        one["lease_secs"] = 60.0
    return True


def pass_over_a_task(history: History, chance: random.Random) -> bool:
    """Two tasks of one queue and priority are given out in the wrong order."""
    submits: dict[tuple[str, int], list[Call]] = {}
    evidence = Evidence(history)
    for call in history.of("submit"):
        task_id, args = call.args["id"], call.args
        grants = evidence.grants.get(task_id)
        alone = len(evidence.submits[task_id]) == 1 and not evidence.statuses.get(task_id)
        if call.ok and not args["delay_secs"] and alone and grants:
            submits.setdefault((args["queue"], args["priority"]), []).append(call)
    for calls in chance.sample(list(submits.values()), len(submits)):
        for one in calls:
            for other in calls:
                first, second = (evidence.grants[call.args["id"]][0] for call in (one, other))
                if one.end < other.start and other.end < first.claim.start < second.claim.start:
                    one.start, other.start = other.start, one.start
                    one.end, other.end = other.end, one.end
                    return True
    return False


def answer_with_an_older_state(history: History, chance: random.Random) -> bool:
    """Somebody who asks is told what was so before the last run began."""
    calls = [call for call in history.of("status") if call.ok and call.reply["attempt"] > 0]
    if calls:
        call = chance.choice(calls)
        attempt = call.reply["attempt"] - 1
        call.reply.update(state="READY", attempt=attempt, result=None, token=0)
    return bool(calls)


def not_find_a_task(history: History, chance: random.Random) -> bool:
    """Somebody who asks after the acknowledgement does not find the task."""
    call = chance.choice([call for call in history.of("status") if call.ok])
    submits = [one for one in history.of("submit") if one.args["id"] == call.args["id"] and one.ok]
    if not submits or min(one.end for one in submits) >= call.start:
        return False
    call.outcome, call.code, call.reply = REFUSED, "NOT_FOUND", {}
    return True


# Lie -> rules, of which one at least must find it out.
LIES: dict[Lie, tuple[str, ...]] = {
    lose_a_task: ("acknowledged_submits",),
    lose_a_completion: ("outcomes_stay",),
    lose_a_failure: ("outcomes_stay",),
    lose_a_cancel: ("outcomes_stay", "linearizable"),
    swap_two_results: ("one_completion", "linearizable"),
    count_a_completion_twice: ("sums",),
    change_a_payload: ("payloads",),
    change_a_priority: ("acknowledged_submits",),
    accept_a_stale_completion: ("stale_tokens", "one_completion", "linearizable"),
    refuse_a_completion: ("refused_outcomes",),
    give_out_a_held_task: ("leases_end_late", "linearizable"),
    end_a_lease_early: ("leases_end_late", "linearizable"),
    forget_a_token: ("tokens_grow",),
    give_a_token_twice: ("tokens_grow",),
    start_a_task_early: ("never_early",),
    reclaim_a_lease_early: ("leases_end_late", "linearizable"),
    pass_over_a_task: ("in_order",),
    answer_with_an_older_state: ("linearizable",),
    not_find_a_task: ("reads_see_submits",),
}
