"""Nothing runs before it is due (P5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from chaos.checkers.evidence import Evidence, Grant
from chaos.history import Call

# Share of a retry's delay that its jitter may take away.
JITTER = 0.2


def never_early(evidence: Evidence) -> Iterator[str]:
    """P5: no run before a delay has passed: that of the submit, of a release or of a retry."""
    wait = evidence.clocks.at_least
    for task_id, grants in evidence.grants.items():
        submits = [call for call in evidence.submits.get(task_id, ()) if call.maybe]
        for call in submits[:1]:
            first = min(one.start for one in submits)
            due = first + wait(call.args["delay_secs"], first)
            yield from _early(task_id, grants, due, "submit")
        for older, newer in pairwise(grants):
            accepted = [call for call in evidence.outcomes.get(older.token, ()) if call.ok]
            gone = evidence.deregistered.get(older.claim.args["worker"], ())
            for call in accepted:
                if _came_after_a_farewell(call, gone):
                    continue
                first = min(one.start for one in evidence.outcomes[older.token])
                due = first + wait(delay_after(call, call.reply["state"]), first)
                yield from _early(task_id, [newer], due, call.kind)


def delay_after(call: Call, state: str) -> float:
    """Seconds for which a task waits at least after this outcome brought it to `state`."""
    if state == "RETRYING":
        return (1 - JITTER) * float(call.args["backoff_secs"])
    return float(call.args.get("delay_secs", 0.0))


def _came_after_a_farewell(call: Call, gone: Sequence[Call]) -> bool:
    """A release that asked for a delay found the task given back already, to its place: the worker
    had said farewell, or a late copy of that came just now."""
    promised = call.kind == "release" and call.args["delay_secs"] and call.reply["state"] == "READY"
    return bool(promised) and any(one.maybe and one.start <= call.end for one in gone)


def _early(task_id: str, grants: list[Grant], due: float, why: str) -> Iterator[str]:
    for grant in grants:
        if grant.claim.end < due:
            yield f"task {task_id}: claimed at {grant.claim.end:.3f}, due at {due:.3f} ({why})"
