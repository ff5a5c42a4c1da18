"""Ends of tasks: one completion, acknowledged ends stay, refusals are true (P4, P7)."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.checkers.evidence import FINAL, Evidence
from chaos.history import Call


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
    """P4: an acknowledged end of a task (by outcome or cancel) is its end for ever."""
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
