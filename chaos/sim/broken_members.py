"""Builds that are broken where members change (A10): each leaves out one wording of the model.

`chaos/models/members.py` finds the shortest trace to each; here the real nodes are to stumble.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from chaos.sim.broken import BUILDS, Build, _put
from chaos.sim.plan import Fault
from cluster.replication.changes import Changes
from cluster.replication.core import Core
from cluster.replication.leading import Leading
from cluster.replication.membership import Membership
from cluster.replication.raft import Raft
from cluster.replication.roster import Roster
from cluster.replication.standing import Standing
from cluster.replication.voters import Voters, founders

Plan = Callable[[int], list[Fault]]
Patch = Callable[[ExitStack], None]


def build(
    name: str, *, founding: int, nodes: int, plan: Plan | None = None
) -> Callable[[Patch], Patch]:
    """Registers a broken build whose runs are on so many nodes; `founding` of them found it."""

    def register(apply: Patch) -> Patch:
        BUILDS[name] = Build("A10", apply, {}, nodes, plan, "", founding)
        return apply

    return register


def _hunts(kind: str) -> Plan:
    """One after the other."""
    moments = (6.0, 16.0, 26.0, 36.0)
    return lambda seed: [Fault(at, kind, 0, 1.0, seed + at_) for at_, at in enumerate(moments)]


def _cut_off(seed: int) -> list[Fault]:
    """A change that is cut off from the log; then whoever leads makes another one."""
    faults = []
    for place, at in enumerate((6.0, 18.0, 30.0, 42.0)):
        faults.append(Fault(at, "rush", 0, 1.0, seed + place))
        faults.append(Fault(at + 6.0, "transfer", 0, 1.0, seed + place))
        faults.append(Fault(at + 7.0, "members", 1, 1.0, 1 if place % 2 == 0 else 0))
    return faults


@build("two changes of members at once", founding=5, nodes=5, plan=_hunts("rush"))
def _two_at_once(stack: ExitStack) -> None:
    _put(stack, Raft, "members_settled", property(lambda self: self.is_leader))


@build("a restart that goes by the configured members", founding=3, nodes=5)
def _restart_forgets(stack: ExitStack) -> None:
    def configured(self: Core, node_id: str) -> Voters:
        others = self._others
        return founders([node_id]) if others is None else others.founding

    _put(stack, Core, "_voters", configured)


@build("a truncation that leaves its set", founding=5, nodes=6, plan=_cut_off)
def _truncation_forgets(stack: ExitStack) -> None:
    _put(stack, Roster, "truncated", lambda self, index: None)


@build(
    "acknowledgements of nodes that are no members", founding=3, nodes=4, plan=_hunts("stranger")
)
def _outsiders_count(stack: ExitStack) -> None:
    _put(stack, Leading, "_counts", lambda self, peer_id: True)


def _departures(seed: int) -> list[Fault]:
    """Leaders that are asked to leave and lose the lead; the next one hands over, maybe to them."""
    faults = []
    for place, at in enumerate((6.0, 18.0, 30.0, 42.0)):
        faults.append(Fault(at, "departing", 0, 1.0, seed + place))
        faults.append(Fault(at + 7.0, "transfer", 0, 1.0, seed + place))
    return faults


@build("a wish to leave that outlives its term", founding=3, nodes=3, plan=_departures)
def _wish_outlives(stack: ExitStack) -> None:
    turn = Changes.turn

    def in_any_term(self: Changes, leading: Leading, now: float) -> None:
        if self._remove_itself:
            self._remove_itself = self._raft.term
        turn(self, leading, now)

    _put(stack, Changes, "turn", in_any_term)


@build("a removed leader that counts itself", founding=4, nodes=4, plan=_hunts("leaving"))
def _removed_counts_itself(stack: ExitStack) -> None:
    _put(stack, Raft, "is_member", property(lambda self: True))
    _put(stack, Membership, "removed", "")  # it would refuse what comes after
    # The others would hear it no more, and elect another one at once.
    _put(stack, Standing, "trusts", lambda self, peer_id: True)
    _put(stack, Roster, "left", lambda self: set())
