"""Leases: at most one is valid, no earlier end than promised, tokens only grow (P3, P8)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from chaos.checkers.evidence import Evidence, Grant


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
