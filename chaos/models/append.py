"""Appends, their answers, and what may be committed on them (A3, A4).

The rule: a follower checks (prev index, prev term), drops what it holds with the same term, cuts
its log only at an entry that differs, answers for what was verified and commits no further; the
leader never moves its next index back on a success nor to what is acknowledged; an older term is
not obeyed.

State: the leader of term 3 (node 0) with its view of two followers, their logs as tuples of terms
(entry k of a term is one entry: one leader per term), and messages on the wire, which may be late
for ever, overtake each other and arrive twice. Node 1 was the leader of term 2 and still has a tail
of its own; an append that it sent to node 2 is still on its way.

Bound: logs of three entries, two messages on the wire, one of them delivered twice.

Whatever is committed must lie in the logs of two of the three nodes, for those two are what the
next election relies on; no node may commit what the leader did not; no entry is sent twice to a
follower that refused nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

LOG_MAX = 3
WIRE_MAX = 2
REPEATS = 1
TERM = 3
NODES = 3


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    CUTS_ON_NOTHING = "an append without entries cuts what lies above prev"
    CUTS_BEFORE_COMPARING = "the log is cut at prev although the entries above it are the same"
    ACKS_OWN_END = "the answer names the end of the follower's own log"
    COMMITS_UNVERIFIED = "a heartbeat moves commit although (prev, term) does not match"
    COMMITS_OWN_END = "commit moves to the end of the own log, beyond what was verified"
    OBEYS_OLD_TERM = "an append of a lower term is obeyed"
    NEXT_BACK_ON_SUCCESS = "an acknowledgement of older entries moves the next index back"
    RESET_BELOW_MATCH = "a late refusal moves the next index to what is acknowledged"


class Append(NamedTuple):
    """`entries` follow entry `prev`, whose term is `prev_term`; indexes count from 1."""

    to: int
    term: int
    prev: int
    prev_term: int
    entries: tuple[int, ...]
    commit: int


class Answer(NamedTuple):
    """Of a follower: everything below `next_index` is verified, or (refused) send from there."""

    of: int
    next_index: int
    success: bool


class View(NamedTuple):
    """What the leader believes of a follower; `sent` is the highest index since a refusal."""

    next_index: int
    match: int
    sent: int


class Follower(NamedTuple):
    """A log, and how much of it the follower takes for committed."""

    log: tuple[int, ...]
    commit: int


class State(NamedTuple):
    """The leader's log and commit index, its views of nodes 1 and 2, and these nodes."""

    log: tuple[int, ...]
    commit: int
    views: tuple[View, ...]
    followers: tuple[Follower, ...]
    wire: frozenset[Append | Answer]
    repeats: int


class Model:
    """Replication by one leader over a network that delays, reorders and repeats."""

    milestones = frozenset({"append", "send", "cut", "refuse", "acknowledge", "commit", "repeat"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.wire_max = WIRE_MAX + wider

    def initial(self) -> Iterator[State]:
        """Just after the election of node 0: its no-op is entry 2."""
        view = View(next_index=2, match=0, sent=1)
        late = Append(2, TERM - 1, 1, 1, (2, 2), 1)
        followers = (Follower((1, 2, 2), 1), Follower((1,), 1))
        yield State((1, 3), 1, (view, view), followers, frozenset({late}), REPEATS)

    def broken(self, state: State) -> str | None:
        """Committed entries are in two logs, and every node commits what the leader did."""
        committed = state.log[: state.commit]
        holders = 1 + sum(each.log[: state.commit] == committed for each in state.followers)
        if holders <= NODES // 2:
            return f"entry {state.commit} is committed, but only the leader has it"
        for node, each in enumerate(state.followers, 1):
            if each.log[: each.commit] != committed[: each.commit]:
                return f"node {node} takes entry {each.commit} for committed: it has another one"
        return None

    def steps(self, state: State) -> Iterator[Step[State]]:
        """The leader appends, sends and commits; the wire delivers."""
        if len(state.log) < LOG_MAX:
            yield Step("append", "", state._replace(log=(*state.log, TERM)))
        matches = sorted((len(state.log), *(view.match for view in state.views)))
        index = matches[NODES // 2]
        if index > state.commit and state.log[index - 1] == TERM:
            yield Step("commit", f"up to {index}", state._replace(commit=index))
        if len(state.wire) < self.wire_max:
            for node in (1, 2):
                yield from self._send(state, node)
        for letter in state.wire:
            after = state._replace(wire=state.wire - {letter})
            yield self._deliver(after, letter)
            if state.repeats:
                kept = state._replace(repeats=state.repeats - 1)
                _, detail, done, _ = self._deliver(kept, letter)
                yield Step("repeat", detail, done)

    def _send(self, state: State, node: int) -> Iterator[Step[State]]:
        """A heartbeat, and everything from the next index on if there is any."""
        view = state.views[node - 1]
        prev = view.next_index - 1
        prev_term = state.log[prev - 1] if prev else 0
        for entries in {(), state.log[prev:]}:
            detail = f"to {node}: {list(entries)} after {prev}"
            if entries and prev < view.sent:
                again = f"entry {prev + 1} is sent again to {node}"
                yield Step("send", detail, Broken(again))
                continue
            letter = Append(node, TERM, prev, prev_term, entries, state.commit)
            end = prev + len(entries)
            moved = View(end + 1, view.match, max(view.sent, end))
            after = self._with_view(state, node, moved)
            yield Step("send", detail, after._replace(wire=state.wire | {letter}))

    def _deliver(self, state: State, letter: Append | Answer) -> Step[State]:
        if isinstance(letter, Answer):
            return self._answered(state, letter)
        if letter.term < TERM and self.wording is not Wording.OBEYS_OLD_TERM:
            return Step("refuse", f"of {letter.to}: the append is of an older term", state)
        return self._appended(state, letter)

    def _appended(self, state: State, letter: Append) -> Step[State]:
        """The follower's side; the heart of the rule."""
        wording, (log, commit) = self.wording, state.followers[letter.to - 1]
        prev, entries, node = letter.prev, letter.entries, letter.to
        if prev > len(log) or (prev and log[prev - 1] != letter.prev_term):
            if wording is Wording.COMMITS_UNVERIFIED:
                commit = max(commit, min(letter.commit, len(log)))
            answer = Answer(node, min(prev, len(log) + 1), success=False)
            refused = self._with_follower(state, node, Follower(log, commit), answer)
            return Step("refuse", f"of {node}: entry {prev} is not held", refused)
        verified = prev + len(entries)
        held = log[prev:verified]
        same = 0
        while same < len(held) and held[same] == entries[same]:
            same += 1
        differs = same < len(held) or (not entries and wording is Wording.CUTS_ON_NOTHING)
        if entries and wording is Wording.CUTS_BEFORE_COMPARING:
            differs, same = True, 0
        deed = "acknowledge"
        if differs and prev + same < len(log):
            deed, log = "cut", log[: prev + same]
            if len(log) < commit and letter.term == TERM and same == len(held):
                return Step(deed, f"of {node}", Broken(f"node {node} cuts below its commit index"))
        log = log if len(log) >= verified else log[:prev] + entries
        limit = len(log) if wording is Wording.COMMITS_OWN_END else verified
        commit = max(commit, min(letter.commit, limit))
        end = len(log) if wording is Wording.ACKS_OWN_END else verified
        answer = Answer(node, end + 1, success=True)
        detail = f"of {node}: up to {end}"
        return Step(deed, detail, self._with_follower(state, node, Follower(log, commit), answer))

    def _answered(self, state: State, letter: Answer) -> Step[State]:
        """The leader's side."""
        view = state.views[letter.of - 1]
        if letter.success:
            next_index = max(view.next_index, letter.next_index)
            if self.wording is Wording.NEXT_BACK_ON_SUCCESS:
                next_index = letter.next_index
            match = max(view.match, letter.next_index - 1)
            view = View(next_index, match, view.sent)
            after = self._with_view(state, letter.of, view)
            return Step("count", f"the answer of {letter.of}: up to {match}", after)
        if letter.next_index <= view.match and self.wording is not Wording.RESET_BELOW_MATCH:
            return Step("ignore", f"a late refusal of {letter.of}", state)
        if letter.next_index <= view.match:
            sentence = f"entry {letter.next_index} is asked for, node {letter.of} acknowledged it"
            return Step("reset", f"for {letter.of}", Broken(sentence))
        view = View(letter.next_index, view.match, letter.next_index - 1)
        after = self._with_view(state, letter.of, view)
        return Step("reset", f"for {letter.of}: send from {letter.next_index}", after)

    @staticmethod
    def _with_view(state: State, node: int, view: View) -> State:
        first, second = state.views
        return state._replace(views=(view, second) if node == 1 else (first, view))

    @staticmethod
    def _with_follower(state: State, node: int, follower: Follower, answer: Answer) -> State:
        first, second = state.followers
        followers = (follower, second) if node == 1 else (first, follower)
        return state._replace(followers=followers, wire=state.wire | {answer})
