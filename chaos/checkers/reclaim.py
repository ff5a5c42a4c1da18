"""An abandoned lease is over in bounded time, as long as there is service (P2)."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.checkers.evidence import Evidence, Grant
from chaos.checkers.service import Service
from chaos.history import Call

# From the end of a lease to the entry that takes it, on a machine that is busy.
RECLAIM_SECS = 1.0


def leases_end_in_time(evidence: Evidence) -> Iterator[str]:
    """P2: a lease that nobody extends is over within its length and `RECLAIM_SECS`, both with
    service: later its token is not accepted, and its task is not LEASED under it."""
    service = Service(evidence)
    for task_id, grants in evidence.grants.items():
        seen = [call for call in evidence.statuses.get(task_id, ()) if _is_leased(call)]
        for grant in grants:
            used = [*_uses(evidence, grant)]
            used += [call for call in seen if call.reply.get("token") == grant.token]
            for call in used:
                held = _held(evidence, service, grant, call)
                if held is not None:
                    yield (
                        f"task {task_id}: {call.kind} at {call.start:.3f} found token"
                        f" {grant.token} valid, {held:.3f} s of service after its lease began"
                    )


def _held(evidence: Evidence, service: Service, grant: Grant, call: Call) -> float | None:
    """How long the lease has lasted with service when the call is asked; None if not too long, or
    if a call without an answer may have extended it, or one that was repeated, and came late."""
    extensions = [one for one in evidence.extensions.get(grant.token, ()) if one.start < call.start]
    if any(one.maybe and (not one.ok or evidence.may_be_repeated(one)) for one in extensions):
        return None
    renewed = max([grant.claim.end, *(one.end for one in extensions)])
    held = service.secs(renewed, call.start)
    longest = evidence.clocks.at_most(grant.full_secs, renewed, call.start) + RECLAIM_SECS
    return held if held > longest else None


def _is_leased(call: Call) -> bool:
    return call.ok and call.reply["state"] == "LEASED"


def _uses(evidence: Evidence, grant: Grant) -> Iterator[Call]:
    """The calls for which the token was valid, as far as they are no repeats of others."""
    own = [call for call in evidence.outcomes.get(grant.token, ()) if evidence.may_have_run(call)]
    first = min(own, key=lambda call: call.start, default=None)
    # Where the first was not answered, it may have been what the others repeat.
    if first is not None and first.ok:
        yield first
    for call in evidence.extensions.get(grant.token, ()):
        if call.ok and grant.token not in call.reply.get("invalid", ()):
            yield call
