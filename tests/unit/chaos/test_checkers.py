"""Each checker lets a good history pass, and finds the one thing that is wrong in a bad one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos.checkers import CHECKERS, Evidence, page, repeated_claim, violations
from chaos.checkers.due import never_early
from chaos.history import REFUSED, UNKNOWN, Call, Final, History, Kill
from tests.unit.chaos.small_histories import (
    CRC,
    A,
    B,
    C,
    D,
    call,
    claim,
    complete,
    fail,
    good,
    heartbeat,
    refused,
    release,
    status,
    submit,
    task,
)

Harm = Callable[[History, Final], None]


def lose_a_task(history: History, final: Final) -> None:
    del final.tasks[B]


def change_a_field(history: History, final: Final) -> None:
    final.tasks[B]["priority"] = 50


def keep_a_refused_task(history: History, final: Final) -> None:
    history.calls[3].outcome = REFUSED


def invent_a_task(history: History, final: Final) -> None:
    final.tasks["ee" * 16] = task("READY")


def make_two_of_one_id(history: History, final: Final) -> None:
    final.totals["submitted"] += 1


def tell_two_states(history: History, final: Final) -> None:
    final.statuses[D] = "EXPIRED"


def miscount(history: History, final: Final) -> None:
    final.states["ready"] += 1


def complete_twice_in_the_counts(history: History, final: Final) -> None:
    final.totals["completed"] += 1


def leave_a_lease(history: History, final: Final) -> None:
    final.tasks[D]["state"] = final.statuses[D] = "LEASED"


def lose_a_place_in_the_queue(history: History, final: Final) -> None:
    final.given = {}


def give_out_twice_at_the_end(history: History, final: Final) -> None:
    final.given = {D: [CRC, CRC]}


def give_out_an_ended_task(history: History, final: Final) -> None:
    final.given = {D: [CRC], B: [CRC]}


def give_out_an_unlisted_task(history: History, final: Final) -> None:
    final.given = {D: [CRC], "ee" * 16: [CRC]}


def damage_a_payload_that_waits(history: History, final: Final) -> None:
    final.given = {D: [CRC + 1]}


def accept_two_completions(history: History, final: Final) -> None:
    history.calls.append(complete(A, 1, 1.9))


def swap_the_result(history: History, final: Final) -> None:
    final.tasks[A]["result"] = f"{A} by 1"


def undo_a_completion(history: History, final: Final) -> None:
    final.tasks[A].update(state="READY", result=None)


def undo_a_cancel(history: History, final: Final) -> None:
    final.tasks[C]["state"] = "READY"


def undo_a_death(history: History, final: Final) -> None:
    final.tasks[B]["state"] = "READY"


def show_a_completed_task_as_ready(history: History, final: Final) -> None:
    history.calls.append(status(A, 3.3, "READY"))


def hand_out_a_completed_task(history: History, final: Final) -> None:
    history.calls.append(claim(3.4, (A, 5)))
    final.tasks[A]["token"] = 5


def forget_a_wanted_cancel(history: History, final: Final) -> None:
    reply = {"state": "LEASED", "requested": True}
    history.calls.append(call("cancel", 3.3, reply, id=D, force=False))


def not_find_a_submitted_task(history: History, final: Final) -> None:
    history.calls.append(refused(status(A, 0.5, ""), "NOT_FOUND"))


def accept_a_stale_outcome(history: History, final: Final) -> None:
    history.calls.append(fail(A, 1, 2.7))


def accept_a_stale_heartbeat(history: History, final: Final) -> None:
    history.calls.append(heartbeat(1, 2.75))


def give_out_a_held_task(history: History, final: Final) -> None:
    history.calls.append(claim(1.3, (B, 3)))
    history.calls = [one for one in history.calls if one.kind != "fail" or one.start > 2]


def end_a_lease_early(history: History, final: Final) -> None:
    history.calls.append(heartbeat(1, 1.6, valid=False))


def refuse_an_early_outcome(history: History, final: Final) -> None:
    history.calls.append(refused(fail(A, 1, 1.6), "STALE_TOKEN"))


def refuse_what_was_carried_out(history: History, final: Final) -> None:
    done = next(one for one in history.of("complete") if one.args["token"] == 3)
    done.outcome, done.code, done.reply = REFUSED, "STALE_TOKEN", {}


def give_a_token_twice(history: History, final: Final) -> None:
    history.calls.append(claim(3.5, (D, 3)))
    final.tasks[D]["token"] = 3


def give_an_older_token(history: History, final: Final) -> None:
    history.calls.append(claim(3.5, (D, 0)))


def forget_a_token(history: History, final: Final) -> None:
    final.tasks[B]["token"] = 2


def change_a_payload(history: History, final: Final) -> None:
    history.calls[4].reply["grants"][0]["crc"] = 8


def start_before_due(history: History, final: Final) -> None:
    history.calls[1].args["delay_secs"] = 5.0


def retry_before_due(history: History, final: Final) -> None:
    for one in history.of("fail"):
        one.args["backoff_secs"] = 10.0


def keep_an_abandoned_lease(history: History, final: Final) -> None:
    """A's second lease is never extended, and its token is accepted three seconds later."""
    history.calls = [one for one in history.calls if one.start < 3.1]
    history.calls += [submit(A, 2.6 + place / 5) for place in range(20)]  # there is service
    history.calls.append(complete(A, 3, 6.1))


def show_an_abandoned_lease(history: History, final: Final) -> None:
    keep_an_abandoned_lease(history, final)
    history.calls[-1].start = 3.1
    history.calls.append(status(A, 6.0, "LEASED", token=3))


def give_out_a_lease_and_tell_nobody(history: History, final: Final) -> None:
    history.calls.append(claim(3.4, (D, 6)))
    final.tasks[D].update(token=6, attempt=1)


def pass_over_a_task(history: History, final: Final) -> None:
    """D stood in the queue before A came."""
    history.calls[3] = submit(D, -0.5)


def show_a_held_task_as_ready(history: History, final: Final) -> None:
    history.calls.append(status(A, 1.45, "READY"))


def answer_a_cancel_with_an_old_state(history: History, final: Final) -> None:
    reply = {"state": "LEASED", "requested": True}
    history.calls.append(call("cancel", 1.05, reply, id=C, force=False))


def stay_away(history: History, final: Final) -> None:
    history.kills.append(Kill(5.0, "leader-crash", {}, served=True, over=6.0))


HARMS: dict[str, tuple[Harm, ...]] = {
    "acknowledged_submits": (lose_a_task, change_a_field),
    "refused_submits": (keep_a_refused_task, invent_a_task),
    "one_task_per_id": (make_two_of_one_id, tell_two_states),
    "sums": (miscount, complete_twice_in_the_counts),
    "nothing_hangs": (leave_a_lease,),
    "ready_is_given_out": (
        *(lose_a_place_in_the_queue, give_out_twice_at_the_end, give_out_an_ended_task),
        *(give_out_an_unlisted_task, damage_a_payload_that_waits),
    ),
    "one_completion": (accept_two_completions, swap_the_result),
    "outcomes_stay": (
        *(undo_a_completion, undo_a_cancel, undo_a_death, show_a_completed_task_as_ready),
        *(hand_out_a_completed_task, forget_a_wanted_cancel),
    ),
    "reads_see_submits": (not_find_a_submitted_task,),
    "stale_tokens": (accept_a_stale_outcome, accept_a_stale_heartbeat),
    "leases_end_late": (give_out_a_held_task, end_a_lease_early, refuse_an_early_outcome),
    "refused_outcomes": (refuse_what_was_carried_out,),
    "tokens_grow": (give_a_token_twice, give_an_older_token, forget_a_token),
    "payloads": (change_a_payload,),
    "never_early": (start_before_due, retry_before_due),
    "leases_end_in_time": (keep_an_abandoned_lease, show_an_abandoned_lease),
    "leases_are_told": (give_out_a_lease_and_tell_nobody,),
    "in_order": (pass_over_a_task,),
    "linearizable": (
        *(show_a_held_task_as_ready, answer_a_cancel_with_an_old_state, lose_a_task),
        *(undo_a_completion, accept_two_completions, accept_a_stale_outcome, give_out_a_held_task),
        *(end_a_lease_early, start_before_due, retry_before_due, forget_a_token),
    ),
    "service_returns": (stay_away,),
}


def test_a_good_history_breaks_no_promise() -> None:
    assert violations(good()) == []


def test_what_is_ready_may_be_given_out_at_the_end() -> None:
    history = good()
    assert history.final is not None
    history.final.given = {D: [CRC]}
    assert violations(history) == []


def test_every_checker_is_shown_to_fail() -> None:
    assert set(HARMS) == {check.__name__ for check in CHECKERS}


@pytest.mark.parametrize(
    ("checker", "harm"),
    [(checker, harm) for checker, harms in HARMS.items() for harm in harms],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_bad_history_is_found(checker: str, harm: Harm) -> None:
    history = good()
    assert history.final is not None
    harm(history, history.final)
    assert any(line.startswith(f"{checker}: ") for line in violations(history))


def test_an_unknown_outcome_may_be_either() -> None:
    history = good()
    assert history.final is not None
    history.final.tasks.pop(D)  # not carried out
    history.final.statuses[D] = "NOT_FOUND"
    history.final.states["ready"] = 0
    history.final.totals["submitted"] = 3
    assert violations(history) == []


def test_a_completion_that_was_never_answered_may_stand() -> None:
    history = good()
    done = next(one for one in history.of("complete") if one.args["token"] == 3)
    done.outcome, done.reply = UNKNOWN, {}
    history.calls = [one for one in history.calls if one.kind != "status"]
    assert violations(history) == []
    assert history.final is not None
    history.final.tasks[A].update(state="DEAD", result=None)
    history.final.statuses[A] = "DEAD"
    history.final.states.update(completed=0, dead=2)
    history.final.totals["completed"] = 0
    assert violations(history) == []


def test_a_forced_cancel_explains_a_lease_that_ended_early() -> None:
    history = good()
    end_a_lease_early(history, history.final)  # type: ignore[arg-type]
    forced = call("cancel", 1.55, {"state": "CANCELLED", "requested": False}, id=A, force=True)
    forced.outcome = UNKNOWN
    history.calls.append(forced)
    assert not [line for line in violations(history) if line.startswith("leases_end_late")]


@pytest.mark.parametrize("killed", [True, False])
def test_a_release_repeated_after_a_kill_may_have_been_carried_out_before_it(
    killed: bool,
) -> None:
    """The task was claimed anew before the repeat came; without a kill nothing was repeated."""
    history = good()
    history.calls = [one for one in history.calls if one.args.get("token") != 4]
    late = refused(release(B, 4, 2.9), "STALE_TOKEN")
    late.end = 3.5
    history.calls.append(late)
    history.calls.append(claim(3.2, (B, 5), worker="w3"))
    assert history.final is not None
    history.final.tasks[B]["token"] = 5
    history.kills = [Kill(3.0, "log write", {"release": 1}, True)] if killed else []
    found = [line for line in violations(history) if line.startswith("leases_end_late")]
    assert bool(found) is not killed


def test_a_repeated_claim_brings_only_what_it_brought_before() -> None:
    first = claim(1.0, (A, 1), (B, 2))
    assert repeated_claim(first, claim(1.1, (B, 2))) is None
    assert repeated_claim(first, claim(1.1)) is None
    assert repeated_claim(first, claim(1.1, (B, 2), (C, 3))) is not None
    refused = Call("claim", 1.1, {"worker": "w1"}, 1.2, REFUSED, "NO_LEADER")
    assert repeated_claim(first, refused) is None


def test_a_worker_taken_for_dead_claims_anew() -> None:
    """Seed 1000100 of November 2026: the repeat took six seconds, its worker was dead after 2.7."""
    first = claim(1.0, (A, 1))
    assert repeated_claim(first, claim(2.98, (B, 2))) is not None
    assert repeated_claim(first, claim(3.0, (B, 2))) is None


def test_the_page_of_rules_is_up_to_date() -> None:
    assert page.PAGE.read_text() == page.render(), (
        "python -m chaos.checkers.page > chaos/checkers/README.md"
    )
    assert set(page.CATCHES) == {check.__name__ for check in CHECKERS}


@pytest.mark.parametrize("farewell", [False, True])
def test_a_delay_is_not_kept_only_where_a_farewell_had_released_the_task(farewell: bool) -> None:
    given_back = release(A, 1, 1.2, delay_secs=5.0)
    given_back.reply["state"] = "READY"
    calls = [submit(A, 1.0), claim(1.1, (A, 1)), given_back, claim(1.3, (A, 2), worker="w2")]
    if farewell:  # whose copy came late: the worker claimed again meanwhile
        calls.append(call("deregister", 0.5, worker="w1"))
    final = Final({}, {}, {}, {})
    found = list(never_early(Evidence(History(calls, [], final))))
    assert bool(found) is not farewell
