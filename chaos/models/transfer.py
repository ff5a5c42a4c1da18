"""Leadership is handed over under load, and every proposal is carried out once (A7).

The rule: the leader holds all proposals, the monitors' too, waits until the target has everything,
says *time out now* with its term and last index, which the target ignores if its log ends
elsewhere, and goes on holding until a new leader is heard; then it forwards what was held. One
time-out covers all of it; then this node, if it still leads, proposes it itself.

State: the leader and its target (lengths of log, who leads), proposals made, held, on their way as
forwarded, and in the log of whoever leads; and a *time out now* on the wire, which may be late.
Under load every round of the leader brings a proposal, if proposals are not held.

Bound: two held proposals; the leader's log grows by at most three; two time-outs, and after the
first the transfer is tried once more.

Every proposal is in the log once; a transfer that was given up, with entries added since, deposes
nobody; and a transfer whose message is not lost can be completed without a time-out.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

HELD_MAX = 2
GROWTH = 3
TIME_OUTS = 2
OLD, NEW = 0, 1


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    NOT_ALL_HELD = "some proposals, such as the monitors', go on while the target catches up"
    LAST_INDEX_UNSAID = "*time out now* is obeyed although the target's log ends elsewhere"
    FORWARDS_AT_ONCE = "what was held is forwarded before a new leader is heard"
    PROPOSES_AND_FORWARDS = "at the time-out what is held is proposed, and stays held"
    DROPPED_AT_TIME_OUT = "at the time-out what is held is forgotten"


class State(NamedTuple):
    """`wanted` is what clients proposed, `done` what is in a log; the rest is on its way."""

    leader: int
    # The log of the old leader, and of the target, in entries.
    length: int
    target: int
    # Whether a transfer is under way; the last index said with *time out now*, or None.
    holding: bool
    said: int | None
    wire: int | None
    # The old leader has heard of the new one.
    heard: bool
    held: int
    sent: int
    wanted: int
    done: int
    time_outs: int


class Model:
    """One leader, one target, a load that does not stop, and a limit on time."""

    milestones = frozenset({"hold", "say", "take over", "hear", "forward", "time out", "propose"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.growth = GROWTH + wider
        self.held_max = HELD_MAX + wider

    def initial(self) -> Iterator[State]:
        """The target is one entry behind."""
        yield State(OLD, 1, 0, False, None, None, False, 0, 0, 0, 0, TIME_OUTS)

    def broken(self, state: State) -> str | None:
        """Nothing is carried out that was not wanted once more."""
        if state.done > state.wanted:
            return f"{state.wanted} was proposed, {state.done} is in the log"
        if state.done + state.held + state.sent < state.wanted:
            return "a proposal is nowhere: neither in a log nor held nor on its way"
        return None

    def settled(self, state: object) -> bool:
        """Led by the target with nothing left; or given up; or only the time-out is left."""
        assert isinstance(state, State)
        if state.leader == NEW:
            return state.done == state.wanted and not state.held
        lost = state.said is not None and state.wire is None
        return lost or state.time_outs == 0

    def steps(self, state: State) -> Iterator[Step[State]]:
        """A round of the leader; what the target does; the time-out."""
        if state.leader == OLD:
            yield from self._round(state)
            yield from self._transfer(state)
        yield from self._target(state)
        yield from self._after(state)
        if state.wire is not None:
            yield Step("lose", "time out now", state._replace(wire=None), fault=True)

    def _round(self, state: State) -> Iterator[Step[State]]:
        """Under load, a round in which the target gets what the leader had before it."""
        if state.holding and self.wording is not Wording.NOT_ALL_HELD:
            if state.held < self.held_max and state.wanted < self.held_max:
                kept = state._replace(held=state.held + 1, wanted=state.wanted + 1)
                yield Step("hold", "a proposal", kept)
            if state.target < state.length:
                yield Step("catch up", "", state._replace(target=state.length))
            return
        # The load never stops: beyond the bound, the lag of one entry is all that is kept of it.
        longer = min(state.length + 1, self.growth)
        grown = state._replace(length=longer, target=longer - 1)
        yield Step("propose", "an entry, and the one before it arrives", grown)

    def _transfer(self, state: State) -> Iterator[Step[State]]:
        if not state.holding and state.time_outs:
            yield Step("begin", "the transfer", state._replace(holding=True, said=None))
        if state.holding and state.said is None and state.target == state.length:
            said = state._replace(said=state.length, wire=state.length)
            if self.wording is Wording.FORWARDS_AT_ONCE:
                # A node that does not lead yet takes no proposal.
                said = said._replace(held=0)
            yield Step("say", f"time out now at {state.length}", said)
        if state.holding and state.time_outs:
            held = state.held if self.wording is Wording.PROPOSES_AND_FORWARDS else 0
            done = state.done + state.held
            if self.wording is Wording.DROPPED_AT_TIME_OUT:
                done = state.done
            length = state.length + (done - state.done)
            after = state._replace(holding=False, held=held, done=done, length=length)
            # No transfer may depend on it, so for liveness it is a fault.
            ended = after._replace(time_outs=state.time_outs - 1)
            yield Step("time out", "", ended, fault=True)

    def _target(self, state: State) -> Iterator[Step[State]]:
        """The target hears *time out now*, late perhaps, and is elected."""
        if state.wire is None or state.leader == NEW:
            return
        taken = state._replace(wire=None)
        if state.wire != state.target and self.wording is not Wording.LAST_INDEX_UNSAID:
            yield Step("ignore", "time out now: the log ends elsewhere", taken)
            return
        if state.wire != state.target:
            sentence = "a transfer that was given up deposes the leader, entries later"
            yield Step("take over", "", Broken(sentence))
            return
        if state.target == state.length:
            yield Step("take over", "", taken._replace(leader=NEW))

    def _after(self, state: State) -> Iterator[Step[State]]:
        """The old leader hears of the new one and forwards what it held."""
        if state.leader != NEW:
            return
        if not state.heard:
            yield Step("hear", "of the new leader", state._replace(heard=True))
        if state.heard and state.held:
            sent = state._replace(held=state.held - 1, sent=state.sent + 1)
            yield Step("forward", "a proposal", sent)
        if state.sent:
            done = state._replace(sent=state.sent - 1, done=state.done + 1)
            yield Step("carry out", "a proposal", done)
