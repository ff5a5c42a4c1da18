"""What becomes of a member's log and state: the table, and what holds in every case of it."""

from __future__ import annotations

from itertools import product

import pytest

from cluster.storage.member_policy import (
    Found,
    LogFound,
    MemberPlan,
    StateFound,
    Step,
    plan_member,
)

NEW, WHOLE_LOG, LOST = LogFound.NEW, LogFound.WHOLE, LogFound.LOST
MISSING, WHOLE, DAMAGED = StateFound.MISSING, StateFound.WHOLE, StateFound.DAMAGED
KEEP, CREATE, RENEW = Step.KEEP, Step.CREATE, Step.RENEW


@pytest.mark.parametrize(
    ("found", "plan"),
    [
        (Found(NEW, WHOLE, index=9), MemberPlan(RENEW, KEEP, non_voting=True)),
        (Found(NEW, DAMAGED), MemberPlan(RENEW, RENEW, non_voting=True)),
        (Found(LOST, WHOLE, index=9), MemberPlan(RENEW, KEEP, non_voting=True)),
        (Found(LOST, MISSING), MemberPlan(RENEW, CREATE, non_voting=True)),
        (Found(LOST, DAMAGED), MemberPlan(RENEW, RENEW, non_voting=True)),
        (Found(WHOLE_LOG, WHOLE, 1, 9, index=9), MemberPlan(KEEP, KEEP)),
        (Found(WHOLE_LOG, WHOLE, 5, 9, index=4), MemberPlan(KEEP, KEEP)),
        (Found(WHOLE_LOG, MISSING, 0, 0), MemberPlan(KEEP, CREATE)),
        (Found(WHOLE_LOG, MISSING, 1, 9), MemberPlan(KEEP, CREATE)),
        (Found(WHOLE_LOG, DAMAGED, 0, 0), MemberPlan(KEEP, RENEW)),
        (Found(WHOLE_LOG, DAMAGED, 1, 9), MemberPlan(KEEP, RENEW)),
        (Found(WHOLE_LOG, MISSING, 2, 9), MemberPlan(RENEW, CREATE, non_voting=True)),
        (Found(WHOLE_LOG, DAMAGED, 2, 9), MemberPlan(RENEW, RENEW, non_voting=True)),
        # The state ends before the log starts.
        (Found(WHOLE_LOG, WHOLE, 5, 9, index=3), MemberPlan(RENEW, RENEW, non_voting=True)),
        # The state is ahead: the log lost its end, unless a snapshot came, or it is known.
        (Found(WHOLE_LOG, WHOLE, 5, 9, index=10), MemberPlan(RENEW, KEEP, non_voting=True)),
        (Found(WHOLE_LOG, WHOLE, 0, 0, index=2), MemberPlan(RENEW, KEEP, non_voting=True)),
        (Found(WHOLE_LOG, WHOLE, 5, 9, index=10, as_received=True), MemberPlan(KEEP, KEEP)),
        (Found(WHOLE_LOG, WHOLE, 0, 0, True, index=10), MemberPlan(KEEP, KEEP)),
        (Found(WHOLE_LOG, WHOLE, 0, 0, index=1), MemberPlan(KEEP, KEEP)),
    ],
)
def test_the_table(found: Found, plan: MemberPlan) -> None:
    for listed in (True, False):
        assert plan_member(found, listed=listed) == plan


def test_only_a_listed_disk_begins_as_a_voter() -> None:
    found = Found(NEW, MISSING)
    assert plan_member(found, listed=True) == MemberPlan(CREATE, CREATE)
    assert plan_member(found, listed=False) == MemberPlan(CREATE, CREATE, non_voting=True)


def test_in_every_case() -> None:
    """No case keeps what is not whole, or makes a voting log where there may have been one."""
    logs = [(log, first, last) for log in LogFound for first, last in ((0, 0), (1, 4), (3, 7))]
    count = 0
    for (log, first, last), state, index, flagged, received, listed in product(
        logs, StateFound, range(9), (False, True), (False, True), (False, True)
    ):
        if (log is not WHOLE_LOG and (last or flagged)) or (state is not WHOLE and index):
            continue
        found = Found(log, state, first, last, flagged, index, received)
        plan = plan_member(found, listed=listed)
        count += 1
        assert (plan.log is KEEP) <= (log is WHOLE_LOG), found
        assert (plan.state is KEEP) <= (state is WHOLE), found
        assert (plan.state is CREATE) <= (state is MISSING), found
        assert (plan.state is RENEW) <= (state is not MISSING), found
        never_there = log is NEW and state is MISSING
        assert (plan.log is CREATE) == never_there, found
        assert plan.non_voting == (plan.log is RENEW or (never_there and not listed)), found
        # What is kept fits together: nothing is missing between the state and the log's start.
        if plan.log is KEEP:
            assert (index if plan.state is KEEP else 0) + 1 >= first, found
    assert count > 200
