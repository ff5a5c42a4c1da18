"""Each task's history is linearizable: all that was said of it fits one order of the calls (P7)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from chaos.checkers.evidence import Evidence, Grant
from chaos.checkers.search import STEPS_MAX, Event, search
from chaos.checkers.task_model import Act, State, TaskModel
from chaos.checkers.tokens import Untold
from chaos.history import OPEN, UNKNOWN, Call

# Refusals that say something about the task.
TELLING = {"NOT_FOUND": "absent", "STALE_TOKEN": "stale"}


class Linearizability(NamedTuple):
    """How many tasks were looked at, in how many steps; the ids of those whose search was cut
    short; and a sentence for each task that no order explains."""

    tasks: int
    steps: int
    undecided: list[str]
    broken: list[str]


def linearizable(evidence: Evidence) -> Iterator[str]:
    """P7: for each task there is one order of its calls, each between its start and its end, that
    explains all answers. A search that was cut short is told, too."""
    found = linearizability(evidence)
    yield from found.broken
    if found.undecided:
        count, first = len(found.undecided), found.undecided[0]
        yield f"{count} of {found.tasks} tasks are undecided, the first is {first}"


def linearizability(evidence: Evidence, steps_max: int = STEPS_MAX) -> Linearizability:
    """Searches the history of each task, `steps_max` steps at most for each."""
    untold = Untold(evidence)
    undecided, broken, steps = [], [], 0
    events = events_by_task(evidence)
    for task_id in sorted(events):
        verdict = search(_model(evidence, untold, task_id), events[task_id], steps_max)
        steps += verdict.steps
        if verdict.explained is None:
            undecided.append(task_id)
        elif not verdict.explained:
            assert verdict.stuck is not None
            broken.append(f"task {task_id}: {_story(*verdict.stuck)}")
    return Linearizability(len(events), steps, undecided, broken)


def _model(evidence: Evidence, untold: Untold, task_id: str) -> TaskModel:
    submits = [call for call in evidence.submits.get(task_id, ()) if call.maybe]
    ends = [
        call.start + evidence.clocks.at_least(call.args["delay_secs"] + ttl, call.start)
        for call in submits
        if (ttl := call.args.get("ttl_secs")) is not None
    ]
    found = evidence.final.tasks.get(task_id)
    token_max = 0 if found is None else found["token"]
    return TaskModel(evidence.clocks, untold, token_max, min(ends, default=None))


def _story(state: State, events: list[Event]) -> str:
    token = f" (token {state.token})" if state.token else ""
    calls = "; ".join(_told(event) for event in events[:3])
    return f"{state.name}{token}, and then nothing explains {calls}"


def _told(event: Event) -> str:
    call = event.act.call
    answer = call.code or event.act.reply or call.outcome
    return f"{call.kind} at {call.start:.3f} .. {event.end:.3f}: {answer}"


# --- a task's part in each call -------------------------------------------------------------------


def events_by_task(evidence: Evidence) -> dict[str, list[Event]]:
    """All that happened to each task, the read-out at the end included."""
    found: dict[str, list[Event]] = defaultdict(list)
    for task_id, calls in evidence.submits.items():
        found[task_id] += [_event(call, "submit") for call in calls if call.maybe]
    for task_id, grants in evidence.grants.items():
        for grant in grants:
            found[task_id] += _of_lease(evidence, grant)
    for task_id, calls in evidence.cancels.items():
        for call in calls:
            found[task_id] += _of_call(call)
            if call.ok and evidence.may_be_repeated(call):
                found[task_id].append(Event(call.start, inf, Act("cancel", call), sure=False))
    for task_id, calls in evidence.statuses.items():
        found[task_id] += [event for call in calls for event in _of_call(call) if event.sure]
    for task_id in evidence.final.statuses.keys() | evidence.final.tasks.keys() | found.keys():
        found[task_id] += _at_the_end(evidence, task_id)
    return found


def _event(call: Call, kind: str, token: int = 0, lease_secs: float = 0.0) -> Event:
    """An unknown call may be carried out at any later moment, or never."""
    if call.outcome in (UNKNOWN, OPEN):
        return Event(call.start, inf, Act(kind, call, None, token, lease_secs), sure=False)
    return Event(call.start, call.end, Act(kind, call, call.reply, token, lease_secs))


def _of_call(call: Call, token: int = 0, lease_secs: float = 0.0) -> list[Event]:
    """The call, or what its refusal says; nothing where that says nothing of the task."""
    if call.maybe:
        return [_event(call, call.kind, token, lease_secs)]
    if call.code not in TELLING:
        return []
    return [Event(call.start, call.end, Act(TELLING[call.code], call, None, token))]


def _of_lease(evidence: Evidence, grant: Grant) -> Iterator[Event]:
    """The claim, and all that was done under its token."""
    token, lease_secs, claim = grant.token, grant.lease_secs, grant.claim
    reply = {"attempt": grant.attempt}
    yield Event(claim.start, claim.end, Act("claim", claim, reply, token, lease_secs))
    for call in evidence.outcomes.get(token, ()):
        if not call.maybe and evidence.may_have_run(call):
            # Carried out at first, stale when it was repeated: nothing that has to be.
            yield Event(call.start, call.end, Act(call.kind, call, None, token), sure=False)
        else:
            yield from _of_call(call, token)
    for call in evidence.extensions.get(token, ()):
        if token in call.reply.get("invalid", ()):
            yield Event(call.start, call.end, Act("stale", call, None, token))
        else:
            yield from _of_call(call, token, lease_secs)
    for call in evidence.deregistered.get(claim.args["worker"], ()):
        if call.maybe and (call.end > claim.start or not call.ok):
            yield _event(call, "deregister", token)
        if call.ok and evidence.may_be_repeated(call):  # what was repeated may come late
            yield Event(call.start, inf, Act("deregister", call, None, token), sure=False)


def _at_the_end(evidence: Evidence, task_id: str) -> Iterator[Event]:
    found = evidence.final.tasks.get(task_id)
    if found is not None:
        asked = Call("read-out", inf, {"id": task_id}, inf, "ok", "", found)
        yield Event(inf, inf, Act("status", asked, found))
    elif not evidence.final.totals["removed"]:
        asked = Call("read-out", inf, {"id": task_id}, inf, "refused", "NOT_FOUND")
        yield Event(inf, inf, Act("absent", asked))
