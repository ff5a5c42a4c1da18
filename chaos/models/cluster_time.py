"""Cluster time over changes of leader (section 5 of the design: the stamp `elapsed_ms`).

The rule: elapsed time is advanced by the leader's monotonic clock only, at most one round's cap at
a time; a new leader goes on from the later of the stamp of its log's last entry and the last value
heard in the newest term it has heard from; what it counted itself as a deposed leader is discarded.

State: three nodes (term, own count, last value heard, term and stamp of the last log entry), the
ticks in which some leader was awake, and one lease with its stamp. A tick is one cap; any leader
may sleep through it. A node that restarts has forgotten what it heard.

Bound: terms up to 3, four ticks, a lease of three, one restart.

No lease ends before as many ticks as it was granted for, counting only those in which a leader was
awake to be reached; and the stamps in the log never go back.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from chaos.models.explore import Broken, Step

TERM_MAX = 3
TICKS = 4
LEASE = 3
NODES = range(3)


class Wording(StrEnum):
    """The rule, and what each unsafe wording gets wrong."""

    RULE = "as worded"
    KEEPS_OWN_COUNT = "a leader that was deposed goes on from what it had counted itself"
    HEARD_IN_ANY_TERM = "the highest value ever heard counts, also of an older term"
    STAMP_IGNORED = "the stamp of the log's last entry does not count"
    NO_CAP = "a leader that slept adds all of it at once"
    WALL_CLOCK = "elapsed time follows the wall clock, which may jump"


class Node(NamedTuple):
    """`slept` are ticks missed; under the rule they are forgotten, so they are 0."""

    term: int
    leads: bool
    elapsed: int
    heard: int
    log_term: int
    stamp: int
    slept: int


class State(NamedTuple):
    """The nodes, the ticks so far, and the lease as (stamp, ticks, term)."""

    nodes: tuple[Node, ...]
    ticks: int
    lease: tuple[int, int, int] | None
    restarts: int


class Model:
    """Leaders come, go, sleep and are cut off, while one task is leased."""

    milestones = frozenset({"tick", "hear", "claim", "expire", "elect", "restart"})

    def __init__(self, wording: Wording, wider: int = 0) -> None:
        self.wording = wording
        self.ticks = TICKS + wider

    def initial(self) -> Iterator[State]:
        """Node 0 leads term 1, at time 0."""
        follower = Node(1, False, 0, 0, 1, 0, 0)
        yield State((follower._replace(leads=True), follower, follower), 0, None, 1)

    def broken(self, state: State) -> str | None:
        """All is said by the steps."""
        return None

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Time passes, or leaders and the others talk."""
        yield from self._tick(state)
        for i in NODES:
            if state.restarts:
                yield self._restart(state, i)
            for j in NODES:
                if j == i or state.nodes[j].term > state.nodes[i].term:
                    continue
                if state.nodes[i].leads:
                    yield from self._talk(state, i, j)
                else:
                    yield from self._elect(state, i, j)

    def _tick(self, state: State) -> Iterator[Step[State]]:
        """All leaders are awake, or one sleeps; a tick of sleep is no time that anybody had."""
        if state.ticks >= self.ticks:
            return
        leaders = [i for i in NODES if state.nodes[i].leads]
        for sleeper in (None, *leaders):
            nodes = list(state.nodes)
            awake = [i for i in leaders if i != sleeper]
            for i in awake:
                node = nodes[i]
                jump = LEASE if self.wording is Wording.WALL_CLOCK else 0
                nodes[i] = node._replace(elapsed=node.elapsed + 1 + node.slept + jump, slept=0)
            if sleeper is not None and self.wording is Wording.NO_CAP:
                slept = min(nodes[sleeper].slept + 1, LEASE)
                nodes[sleeper] = nodes[sleeper]._replace(slept=slept)
            ticks = state.ticks + bool(awake)
            detail = "" if sleeper is None else f"while {sleeper} sleeps"
            yield Step("tick", detail, state._replace(nodes=tuple(nodes), ticks=ticks))

    @staticmethod
    def _restart(state: State, i: int) -> Step[State]:
        node = state.nodes[i]
        fallen = Node(node.term, False, 0, 0, node.log_term, node.stamp, 0)
        after = _with(state, i, fallen)._replace(restarts=state.restarts - 1)
        return Step("restart", f"of {i}", after, fault=True)

    def _talk(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Leader i reaches j: a heartbeat, and what a majority of two can commit."""
        leader, node = state.nodes[i], state.nodes[j]
        heard = leader.elapsed
        if self.wording is Wording.HEARD_IN_ANY_TERM:
            heard = max(heard, node.heard)
        follower = self._deposed(node, leader.term)._replace(heard=heard)
        if follower != node:
            yield Step("hear", f"{leader.elapsed} from {i} at {j}", _with(state, j, follower))
        detail = f"at {leader.elapsed} by {i} and {j}"
        if state.lease is None:
            if leader.elapsed < leader.stamp:
                sentence = f"stamp {leader.elapsed} follows {leader.stamp} in the log of {i}"
                yield Step("claim", detail, Broken(sentence))
                return
            term, stamp = leader.term, leader.elapsed
            after = _with(state, i, leader._replace(log_term=term, stamp=stamp))
            after = _with(after, j, follower._replace(log_term=term, stamp=stamp))
            lease = (leader.elapsed, state.ticks, leader.term)
            yield Step("claim", detail, after._replace(lease=lease))
            return
        stamp, granted, term = state.lease
        if leader.term < term:
            return
        if leader.elapsed < stamp:
            sentence = f"{i} goes on at {leader.elapsed}, after stamp {stamp}"
            yield Step("hear", detail, Broken(sentence))
        elif leader.elapsed >= stamp + LEASE:
            had = state.ticks - granted
            if had < LEASE:
                sentence = f"the lease of {LEASE} ticks had {had}"
                yield Step("expire", detail, Broken(sentence))
            else:
                yield Step("expire", detail, state)

    def _elect(self, state: State, i: int, j: int) -> Iterator[Step[State]]:
        """Node i is elected by j and goes on from what it knows of the time."""
        node, voter, term = state.nodes[i], state.nodes[j], state.nodes[i].term + 1
        # Nodes 1 and 2 begin alike: whoever of them leads first is called 1.
        if term > TERM_MAX or (term == 2 and i == 2):
            return
        if (node.log_term, node.stamp) < (voter.log_term, voter.stamp):
            return
        elapsed = max(node.stamp, node.heard)
        if self.wording is Wording.KEEPS_OWN_COUNT:
            elapsed = max(elapsed, node.elapsed)
        if self.wording is Wording.STAMP_IGNORED:
            elapsed = node.heard
        led = node._replace(term=term, leads=True, elapsed=elapsed, heard=elapsed)
        after = _with(_with(state, i, led), j, self._deposed(voter, term))
        yield Step("elect", f"{i} by {j} in term {term}, goes on from {elapsed}", after)

    def _deposed(self, node: Node, term: int) -> Node:
        """What it counted as a leader is discarded; what it heard stays, whoever said it."""
        elapsed = node.elapsed if self.wording is Wording.KEEPS_OWN_COUNT else 0
        return node._replace(term=term, leads=False, elapsed=elapsed, slept=0)


def _with(state: State, i: int, node: Node) -> State:
    return state._replace(nodes=(*state.nodes[:i], node, *state.nodes[i + 1 :]))
