"""Who may lead, with pre-vote and a term in every reply (A5, A4).

The rule: a node stands only after a majority would vote for it; a peer says no while it hears a
live leader. A higher term in any message or reply is adopted, but for the term that a pre-vote
proposes; a vote of a lower term is dropped; each peer's vote counts once; a request of a lower term
is answered with the higher one. Of two that ask at once, the one with the lower name denies the
other for a moment, and whoever says yes stops asking.

State: the nodes (term, vote, role, who said yes to it; their logs are alike, for the other models
have those), the messages on the wire, which may be late for ever and arrive twice, and which links
are cut, each direction by itself. A node *hears* the leader until it is cut off.

Bound: terms up to 3, two messages on the wire, one delivered twice. It begins with three idle nodes
in term 2; with two of them, the third being down; with three of which 0 does not hear 1, or 1 does
not hear 0; with three of five, of which 0 and 2 have no link; with leader 0, which node 1 hears
while node 2 was cut off and comes back; with two candidates for term 3 and a vote of term 2 still
on its way; and with two candidates for term 3 among five nodes.

No term has two leaders; a leader that a majority hears all the time goes on leading; and where
nobody leads, somebody can come to lead.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

TERM_MAX = 3
WIRE_MAX = 2
REPEATS = 1


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    VOTES_COUNT_TWICE = "a vote that arrives twice counts twice"
    OLDER_VOTES_COUNT = "a vote of a lower term counts"
    VOTES_TWICE = "a node votes for whoever asks, also for two in one term"
    NO_PRE_VOTE = "a node stands without having asked"
    PRE_VOTE_IN_HEARING = "a peer says yes to a pre-vote although it hears a live leader"
    PRE_VOTE_TERM_ADOPTED = "the term that a pre-vote proposes is adopted"
    DENIED_FOR_EVER = "the lower name denies the other for as long as it asks, with success or not"


class Letter(NamedTuple):
    """`kind` is ask, would (the answers to a pre-vote), request, vote or deny; to `to` in `term`.

    `proposed` is the term that a pre-vote asks about, else 0.
    """

    kind: str
    sender: int
    to: int
    term: int
    proposed: int


class Node(NamedTuple):
    """`role` is F, P (asking, and denying higher names), W (asking for longer than that), C, L, or
    D (down); `yes` are those who said so, itself too."""

    term: int
    vote: int | None
    role: str
    yes: tuple[int, ...]
    hears: bool


class State(NamedTuple):
    """The nodes, the wire, who led each term, what may still be repeated, and from whom to whom
    nothing arrives."""

    nodes: tuple[Node, ...]
    wire: frozenset[Letter]
    leaders: tuple[int | None, ...]
    repeats: int
    cut: frozenset[tuple[int, int]] = frozenset()


class Model:
    """Pre-votes and votes over a network that delays and repeats."""

    milestones = frozenset({"ask", "say yes", "say no", "deny", "stand", "vote", "lead", "repeat"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.wire_max = WIRE_MAX + wider

    def initial(self) -> Iterator[State]:
        """See the bound."""
        none: tuple[int | None, ...] = (None,) * (TERM_MAX + 1)
        idle = Node(TERM_MAX - 1, None, "F", (), False)
        down = idle._replace(role="D")
        yield State((idle, idle, idle), frozenset(), none, 0)
        yield State((idle, idle, down), frozenset(), none, 0)
        for pair in ((0, 1), (1, 0)):
            yield State((idle, idle, idle), frozenset(), none, 0, frozenset({pair}))
        apart = frozenset({(0, 2), (2, 0)})
        yield State((idle, idle, idle, down, down), frozenset(), none, 0, apart)
        leader = Node(1, 0, "L", (0, 1), True)
        hearing = Node(1, 0, "F", (), True)
        away = Node(1, None, "F", (), False)
        yield State((leader, hearing, away), frozenset(), (None, 0, *none[2:]), 0)
        first, second = (Node(TERM_MAX, i, "C", (i,), False) for i in (0, 1))
        late = Letter("vote", 2, 0, TERM_MAX - 1, 0)
        yield State((first, second, idle._replace(vote=0)), frozenset({late}), none, REPEATS)
        voter = idle._replace(term=TERM_MAX)
        yield State((first, second, voter, voter, voter), frozenset(), none, REPEATS)

    def broken(self, state: State) -> str | None:
        """A leader that is heard by a majority is not deposed."""
        heard = sum(node.hears for node in state.nodes)
        if heard > len(state.nodes) // 2 and state.nodes[0].role != "L":
            return "the leader was deposed although a majority heard it all the time"
        return None

    def settled(self, state: object) -> bool:
        """Somebody leads, or the terms of this bound are used up."""
        assert isinstance(state, State)
        return any(node.role == "L" or node.term == TERM_MAX for node in state.nodes)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Nodes ask and stand; the wire delivers or loses."""
        for i, node in enumerate(state.nodes):
            if not node.hears and node.role not in "LD":
                yield from self._ask(state, i)
        for letter in sorted(state.wire):
            taken = state._replace(wire=state.wire - {letter})
            yield Step("lose", f"{letter.kind} to {letter.to}", taken)
            yield self._deliver(taken, letter)
            if state.repeats:
                again = state._replace(repeats=state.repeats - 1)
                _, detail, after, _ = self._deliver(again, letter)
                yield Step("repeat", detail, after)

    def _ask(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        if node.role == "F" and node.term < TERM_MAX:
            if self.wording is Wording.NO_PRE_VOTE:
                yield self._stand(state, i)
            else:
                yield Step("ask", f"by {i}", _with(state, i, node._replace(role="P", yes=(i,))))
        elif node.role != "F":
            yield from self._send(state, i)
            patient = self.wording is not Wording.DENIED_FOR_EVER
            if node.role == "P" and patient:
                yield Step("wait", f"of {i}", _with(state, i, node._replace(role="W")))
            # Whoever heard too little gives up, and asks anew where the bound lets it.
            if node.term < TERM_MAX and (node.role != "P" or patient):
                given_up = node._replace(role="F", yes=())
                yield Step("time out", f"of {i}", _with(state, i, given_up))

    def _send(self, state: State, i: int) -> Iterator[Step[State]]:
        node = state.nodes[i]
        kind, proposed = ("ask", node.term + 1) if node.role in "PW" else ("request", 0)
        for j, other in enumerate(state.nodes):
            letter = Letter(kind, i, j, node.term, proposed)
            full = len(state.wire) >= self.wire_max or other.role == "D" or (i, j) in state.cut
            if j != i and j not in node.yes and not full and letter not in state.wire:
                sent = state._replace(wire=state.wire | {letter})
                yield Step("send", f"{kind} {i} to {j} in term {node.term}", sent)

    def _stand(self, state: State, i: int) -> Step[State]:
        node = state.nodes[i]
        standing = node._replace(term=node.term + 1, vote=i, role="C", yes=(i,))
        return Step("stand", f"of {i} in term {standing.term}", _with(state, i, standing))

    def _deliver(self, state: State, letter: Letter) -> Step[State]:
        """Term first, then what the message says."""
        i, node = letter.to, state.nodes[letter.to]
        term = letter.term
        if letter.kind == "ask" and self.wording is Wording.PRE_VOTE_TERM_ADOPTED:
            term = letter.proposed
        if term > node.term:
            node = node._replace(term=term, vote=None, role="F", yes=())
            state = _with(state, i, node)
        if letter.kind in ("ask", "request"):
            return self._asked(state, letter)
        counts = letter.term == node.term or self.wording is Wording.OLDER_VOTES_COUNT
        wanted = {"would": "PW", "vote": "C"}.get(letter.kind, "")
        if node.role not in wanted or not counts:
            return Step("drop", f"{letter.kind} of {letter.sender} at {i}", state)
        twice = letter.sender in node.yes and self.wording is not Wording.VOTES_COUNT_TWICE
        yes = node.yes if twice else tuple(sorted((*node.yes, letter.sender)))
        state = _with(state, i, node._replace(yes=yes))
        if len(yes) <= len(state.nodes) // 2:
            return Step("count", f"{letter.kind} of {letter.sender} at {i}", state)
        return self._lead(state, i) if node.role == "C" else self._stand(state, i)

    def _lead(self, state: State, i: int) -> Step[State]:
        node = state.nodes[i]
        detail = f"of {i} in term {node.term}"
        if state.leaders[node.term] not in (None, i):
            return Step("lead", detail, Broken(f"term {node.term} has two leaders"))
        leaders = (*state.leaders[: node.term], i, *state.leaders[node.term + 1 :])
        led = _with(state, i, node._replace(role="L"))
        return Step("lead", detail, led._replace(leaders=leaders))

    def _asked(self, state: State, letter: Letter) -> Step[State]:
        """A pre-vote or a request for a vote, at node `to`."""
        i, asker, node = letter.to, letter.sender, state.nodes[letter.to]
        detail = f"to {letter.kind} of {asker} at {i}"
        if letter.term < node.term:
            return Step("say no", detail, self._reply(state, "deny", letter))
        if letter.kind == "ask":
            in_hearing = self.wording is Wording.PRE_VOTE_IN_HEARING
            no = (node.role == "L" or node.hears) and not in_hearing
            if node.role == "P" and i < asker:
                return Step("deny", detail, self._reply(state, "deny", letter))
            if no:
                return Step("say no", detail, self._reply(state, "deny", letter))
            if node.role in "PW":
                state = _with(state, i, node._replace(role="F", yes=()))
            return Step("say yes", detail, self._reply(state, "would", letter))
        free = node.vote in (None, asker) or self.wording is Wording.VOTES_TWICE
        if not free or node.role == "L":
            return Step("say no", detail, self._reply(state, "deny", letter))
        voted = _with(state, i, node._replace(vote=asker, role="F", yes=()))
        return Step("vote", f"of {i} for {asker}", self._reply(voted, "vote", letter))

    @staticmethod
    def _reply(state: State, kind: str, letter: Letter) -> State:
        term = state.nodes[letter.to].term
        reply = Letter(kind, letter.to, letter.sender, term, 0)
        if (letter.to, letter.sender) in state.cut:
            return state
        return state._replace(wire=state.wire | {reply})


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
