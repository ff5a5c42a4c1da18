"""What was submitted is there, once, whole, and counted (P1, P2, P4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from chaos.checkers.evidence import Evidence


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
    """P1: a task that is there was submitted, and not only by calls that were refused."""
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


def ready_is_given_out(evidence: Evidence) -> Iterator[str]:
    """P1, P2: what is READY at the end is there for claims, each task once and whole, and nothing
    else is. (Where all was claimed after the read-out.)"""
    given = evidence.final.given
    if given is None:
        return
    for task_id, task in evidence.final.tasks.items():
        came, ready = given.get(task_id, []), task["state"] == "READY"
        if ready and not came:
            yield f"task {task_id}: READY at the end, and no claim brings it"
        elif len(came) > ready:
            yield f"task {task_id}: {task['state']} at the end, and given out {len(came)} times"
        submits = evidence.submits.get(task_id)
        if submits and any(crc != submits[0].args["crc"] for crc in came):
            yield f"task {task_id}: given out at the end with another payload"
    for task_id in given.keys() - evidence.final.tasks.keys():
        yield f"task {task_id}: given out at the end, and not listed before"


def payloads(evidence: Evidence) -> Iterator[str]:
    """P1: workers get the payload that was submitted."""
    for task_id, grants in evidence.grants.items():
        submits = evidence.submits.get(task_id)
        if not submits:
            yield f"task {task_id}: claimed, but never submitted"
        elif any(grant.crc != submits[0].args["crc"] for grant in grants):
            yield f"task {task_id}: claimed with another payload"
