"""One task as its clients may see it: what each call does to it, and what it does by itself.

    ABSENT --submit--> SCHEDULED --due--> READY --claim--> LEASED --complete--> COMPLETED
                                            ^                | fail, release, cancel, lease ends
                                            +----------------+-> RETRYING, DEAD, CANCELLED ...

Sequential: calls one after the other, each at one moment. Only lower bounds of time are kept (a
lease does not end by itself before, a delay is not over before); upper bounds are rules of their
own. Written from the promises, not from `taskq.machine`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from chaos.checkers.clocks import Clocks
from chaos.checkers.due import delay_after
from chaos.checkers.tokens import Untold
from chaos.history import Call

WAITING = frozenset({"SCHEDULED", "READY", "RETRYING"})


class State(NamedTuple):
    """`token`: the last one given out; `told`: whether a client was told of it; `run`: how the run
    under it ended ("" while it lasts, or when nothing that is remembered ended it), and `said`, the
    state that its outcome was answered with; `wanted`: a cancellation is; `timer`: LEASED: the
    lease does not end by itself before; SCHEDULED, RETRYING: not due before."""

    name: str = "ABSENT"
    token: int = 0
    told: bool = True
    attempt: int = 0
    run: str = ""
    said: str = ""
    wanted: bool = False
    result: str | None = None
    timer: float = 0.0


class Act(NamedTuple):
    """A call's part in one task. `kind`: that of the call, or "stale" (a refusal of the token),
    "absent" (there is no such task). `token`, `lease_secs`: of the lease that is meant. `reply`:
    what it was answered, None where no answer is known."""

    kind: str
    call: Call
    reply: dict[str, Any] | None = None
    token: int = 0
    lease_secs: float = 0.0


class TaskModel:
    """The rules for one task. `ttl_ends`: when its time to live is over at the earliest, None
    without; `token_max`: the last token that it can have had."""

    def __init__(
        self, clocks: Clocks, untold: Untold, token_max: int, ttl_ends: float | None
    ) -> None:
        self._clocks = clocks
        self._untold = untold
        self._token_max = token_max
        self._ttl_ends = ttl_ends
        self._acts = {
            "submit": self._submit,
            "claim": self._claim,
            "complete": self._complete,
            "fail": self._fail,
            "release": self._release,
            "extend": self._extend,
            "heartbeat": self._heartbeat,
            "stale": self._stale,
            "cancel": self._cancel,
            "deregister": self._deregister,
            "status": self._status,
            "absent": self._absent,
        }

    def after(self, state: State, act: Act, now: float) -> Iterator[State]:
        """The states that the call may leave behind if it is carried out at `now`; none where it
        cannot be, or not with its answer."""
        return self._acts[act.kind](state, act, now)

    def by_itself(self, state: State, now: float) -> Iterator[tuple[State, float]]:
        """What may happen without a call that we know, and when at the earliest."""
        if state.name == "LEASED":
            yield from self._lease_ends(state, max(now, state.timer))
        elif state.name in ("SCHEDULED", "RETRYING"):
            yield state._replace(name="READY", timer=0.0), max(now, state.timer)
        elif state.name == "READY":
            found = self._untold.next(state.token, now)
            if found is not None and found[0] <= self._token_max and found[1] <= found[2]:
                token, moment, _ = found
                # Nobody knows how long it is: it may end at once.
                yield _leased(state, token, moment)._replace(told=False), moment
        if state.name in WAITING and self._ttl_ends is not None:
            yield state._replace(name="EXPIRED", timer=0.0), max(now, self._ttl_ends)

    def _lease_ends(self, state: State, moment: float) -> Iterator[tuple[State, float]]:
        names = ("CANCELLED",) if state.wanted else ("READY", "DEAD")  # dead: the sixth time
        for name in names:
            yield state._replace(name=name, timer=0.0), moment
        if not state.told:  # its worker, whom nobody knows, may have deregistered
            attempt = state.attempt - 1
            yield state._replace(name=names[0], attempt=attempt, timer=0.0), moment

    # --- calls ------------------------------------------------------------------------------------

    def _submit(self, state: State, act: Act, now: float) -> Iterator[State]:
        args = act.call.args
        if state.name != "ABSENT":
            yield state
        elif args["delay_secs"]:
            due = now + self._clocks.at_least(args["delay_secs"], now)
            yield state._replace(name="SCHEDULED", timer=due)
        else:
            yield state._replace(name="READY")
            if args.get("dated"):  # by the wall clock, of which the history knows nothing
                yield state._replace(name="SCHEDULED", timer=now)

    def _claim(self, state: State, act: Act, now: float) -> Iterator[State]:
        if state.name != "READY" or act.token <= state.token:
            return
        leased = _leased(state, act.token, now + self._clocks.at_least(act.lease_secs, now))
        assert act.reply is not None, "a grant is known by its answer"
        if act.reply["attempt"] in (None, leased.attempt):
            yield leased

    def _complete(self, state: State, act: Act, now: float) -> Iterator[State]:
        if _holds(state, act.token):
            result = act.call.args.get("result")
            done = _ended(state, "complete", "COMPLETED")._replace(result=result)
            if _answered(act, "COMPLETED"):
                yield done
        else:
            yield from _again(state, act)

    def _fail(self, state: State, act: Act, now: float) -> Iterator[State]:
        if not _holds(state, act.token):
            yield from _again(state, act)
            return
        names = ("RETRYING", "DEAD") if act.call.args.get("retry", True) else ("DEAD",)
        yield from self._given_back(state, act, now, names)

    def _release(self, state: State, act: Act, now: float) -> Iterator[State]:
        if not _holds(state, act.token):
            yield from _again(state, act)
            return
        delayed = act.call.args["delay_secs"]
        # Dead: at the tenth time by a worker that does not know the task.
        names = ("SCHEDULED", "DEAD") if delayed else ("READY",)
        for after in self._given_back(state, act, now, names):
            dead = after.name == "DEAD"
            yield after if dead else after._replace(attempt=state.attempt - 1)

    def _given_back(
        self, state: State, act: Act, now: float, names: tuple[str, ...]
    ) -> Iterator[State]:
        for name in ("CANCELLED",) if state.wanted else names:
            if _answered(act, name):
                waits = name in ("SCHEDULED", "RETRYING")
                secs = self._clocks.at_least(delay_after(act.call, name), now) if waits else 0.0
                yield _ended(state, act.kind, name)._replace(timer=now + secs if waits else 0.0)

    def _extend(self, state: State, act: Act, now: float) -> Iterator[State]:
        if _holds(state, act.token):
            until = now + self._clocks.at_least(act.lease_secs, now)
            yield state._replace(timer=max(state.timer, until))

    def _heartbeat(self, state: State, act: Act, now: float) -> Iterator[State]:
        if act.reply is None or (act.token in act.reply["cancel"]) == state.wanted:
            yield from self._extend(state, act, now)

    def _stale(self, state: State, act: Act, now: float) -> Iterator[State]:
        known = state.name != "ABSENT" and not _holds(state, act.token)
        if known and not (state.token == act.token and state.run == act.call.kind):
            yield state

    def _cancel(self, state: State, act: Act, now: float) -> Iterator[State]:
        if state.name == "ABSENT":
            return
        after, requested = state, False
        if state.name in WAITING:
            after = state._replace(name="CANCELLED", timer=0.0)
        elif state.name == "LEASED" and act.call.args["force"]:
            after = _ended(state, "", "CANCELLED")
        elif state.name == "LEASED":
            after, requested = state._replace(wanted=True), True
        wanted = {"state": after.name, "requested": requested}
        if act.reply is None or act.reply == wanted:
            yield after

    def _deregister(self, state: State, act: Act, now: float) -> Iterator[State]:
        if not _holds(state, act.token):
            yield state
        else:
            name = "CANCELLED" if state.wanted else "READY"
            yield _ended(state, "release", name)._replace(attempt=state.attempt - 1)

    def _status(self, state: State, act: Act, now: float) -> Iterator[State]:
        seen = act.reply
        assert seen is not None, "a question without an answer says nothing"
        if seen["state"] != state.name or seen.get("attempt", state.attempt) != state.attempt:
            return
        if seen.get("cancel_requested", False) != (state.wanted and state.name == "LEASED"):
            return
        if state.name == "COMPLETED" and seen.get("result", state.result) != state.result:
            return
        token = seen.get("token", state.token)
        if token == state.token:
            yield state
        elif not state.told and token > state.token and token in self._untold:
            yield state._replace(token=token)  # it was this one all along

    def _absent(self, state: State, act: Act, now: float) -> Iterator[State]:
        if state.name == "ABSENT":
            yield state


def _holds(state: State, token: int) -> bool:
    return state.name == "LEASED" and state.token == token and state.told


def _leased(state: State, token: int, until: float) -> State:
    attempt = state.attempt + 1
    return State("LEASED", token, True, attempt, "", "", False, None, until)


def _ended(state: State, how: str, name: str) -> State:
    return state._replace(name=name, run=how, said=name, timer=0.0)


def _again(state: State, act: Act) -> Iterator[State]:
    """An outcome whose token is not valid any more: answered as before, if it is the same."""
    if state.token == act.token and state.run == act.call.kind and _answered(act, state.said):
        yield state


def _answered(act: Act, name: str) -> bool:
    return act.reply is None or act.reply["state"] == name
