"""Each checker lets a good history pass, and finds the one thing that is wrong in a bad one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chaos.checkers import CHECKERS, repeated_claim, violations
from chaos.history import OK, REFUSED, UNKNOWN, Call, Final, History, Kill

A, B, C, D = "aa" * 16, "bb" * 16, "cc" * 16, "dd" * 16


def call(kind: str, start: float, reply: dict[str, Any] | None = None, **args: Any) -> Call:
    return Call(kind, start, args, start + 0.01, OK, "", reply or {})


def submit(task_id: str, start: float, delay_secs: float = 0.0) -> Call:
    fields = {"queue": "q", "priority": 150, "size": 4, "crc": 7, "delay_secs": delay_secs}
    return call("submit", start, id=task_id, **fields)


def claim(start: float, *grants: tuple[str, int], worker: str = "w1", lease: float = 1.0) -> Call:
    found = [
        {"id": task_id, "token": token, "queue": "q", "attempt": 1, "lease_secs": lease, "crc": 7}
        for task_id, token in grants
    ]
    return call("claim", start, {"grants": found}, worker=worker, lease_secs=lease, dead_secs=2.0)


def complete(task_id: str, token: int, start: float) -> Call:
    reply = {"state": "COMPLETED"}
    return call("complete", start, reply, id=task_id, token=token, result=f"{task_id} by {token}")


def status(task_id: str, start: float, state: str) -> Call:
    return call("status", start, {"state": state}, id=task_id)


def task(state: str, token: int, result: str | None = None) -> dict[str, Any]:
    fields = {"state": state, "queue": "q", "size": 4, "priority": 150, "token": token}
    return {**fields, "attempt": 1, "cancel_requested": False, "result": result}


def good() -> History:
    """A: completed under its second token after the first ran out. B: failed, retried, dead.
    C: cancelled while it waited. D: unknown submit that was carried out, still ready."""
    dead = call("fail", 3.0, {"state": "DEAD"}, id=B, token=4, retry=False, backoff_secs=0.2)
    calls = [
        *(submit(A, 0.0), submit(B, 0.1, 0.5), submit(C, 0.2, 30.0), submit(D, 0.3)),
        *(claim(1.0, (A, 1)), claim(1.1, (B, 2))),
        call("fail", 1.2, {"state": "RETRYING"}, id=B, token=2, retry=True, backoff_secs=0.2),
        call("cancel", 1.3, {"state": "CANCELLED", "requested": False}, id=C, force=False),
        *(status(A, 1.4, "LEASED"), status(C, 1.5, "CANCELLED")),
        call("heartbeat", 1.5, {"invalid": [], "cancel": []}, worker="w1", tokens=[1]),
        *(claim(2.6, (A, 3), worker="w2"), claim(2.8, (B, 4), worker="w2")),
        Call("complete", 2.9, {"id": A, "token": 1, "result": "x"}, 2.91, REFUSED, "STALE_TOKEN"),
        *(dead, complete(A, 3, 3.1), status(A, 3.2, "COMPLETED")),
    ]
    calls[3].outcome = UNKNOWN
    tasks = {
        A: task("COMPLETED", 3, f"{A} by 3"),
        B: task("DEAD", 4),
        C: task("CANCELLED", 0),
        D: task("READY", 0),
    }
    states = {"ready": 1, "completed": 1, "dead": 1, "cancelled": 1, "leased": 0}
    final = Final(
        tasks,
        {task_id: found["state"] for task_id, found in tasks.items()},
        states,
        {"submitted": 4, "removed": 0, "completed": 1},
    )
    return History(calls, [], final)


Harm = Callable[[History, Final], None]


def lose_a_task(history: History, final: Final) -> None:
    del final.tasks[B]


def change_a_field(history: History, final: Final) -> None:
    final.tasks[B]["priority"] = 50


def keep_a_refused_task(history: History, final: Final) -> None:
    history.calls[3].outcome = REFUSED


def invent_a_task(history: History, final: Final) -> None:
    final.tasks["ee" * 16] = task("READY", 0)


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
    asked = call("status", 0.5, id=A)
    asked.outcome, asked.code = REFUSED, "NOT_FOUND"
    history.calls.append(asked)


def accept_a_stale_outcome(history: History, final: Final) -> None:
    reply = {"state": "RETRYING"}
    history.calls.append(call("fail", 2.7, reply, id=A, token=1, retry=True, backoff_secs=0.2))


def accept_a_stale_heartbeat(history: History, final: Final) -> None:
    reply = {"invalid": [], "cancel": []}
    history.calls.append(call("heartbeat", 2.75, reply, worker="w1", tokens=[1]))


def give_out_a_held_task(history: History, final: Final) -> None:
    history.calls.append(claim(1.3, (B, 3)))
    history.calls = [one for one in history.calls if one.kind != "fail" or one.start > 2]


def end_a_lease_early(history: History, final: Final) -> None:
    beaten = call("heartbeat", 1.6, {"invalid": [1], "cancel": []}, worker="w1", tokens=[1])
    history.calls.append(beaten)


def refuse_an_early_outcome(history: History, final: Final) -> None:
    refused = Call("fail", 1.6, {"id": A, "token": 1}, 1.61, REFUSED, "STALE_TOKEN")
    history.calls.append(refused)


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


HARMS: dict[str, tuple[Harm, ...]] = {
    "acknowledged_submits": (lose_a_task, change_a_field),
    "refused_submits": (keep_a_refused_task, invent_a_task),
    "one_task_per_id": (make_two_of_one_id, tell_two_states),
    "sums": (miscount, complete_twice_in_the_counts),
    "nothing_hangs": (leave_a_lease,),
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
}


def test_a_good_history_breaks_no_promise() -> None:
    assert violations(good()) == []


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
    args = {"id": B, "token": 4, "delay_secs": 0.0}
    history.calls = [one for one in history.calls if one.args.get("token") != 4]
    history.calls.append(Call("release", 2.9, args, 3.5, REFUSED, "STALE_TOKEN"))
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
