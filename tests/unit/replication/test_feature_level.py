"""The feature level is raised only when all members can run it, and at a cluster's founding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.replication.applier import Applier
from cluster.replication.build import OtherVersionNeeded, refuse_cluster, refuse_state
from cluster.replication.feature_level import (
    FIRST_NO_OP,
    FOUNDING_SECS,
    FeatureLevel,
    highest_common,
    too_early,
    unfit,
)
from cluster.replication.status import builds
from taskq.commands import RaiseLevel, ResumeQueue
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.levels import LEVEL_MAX, Build
from taskq.machine import keys
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Machine
from taskq.machine.record import pack
from taskq.machine.view import MemoryView
from taskq.registry import LATER
from tests.unit.replication.disk import Disk, MemoryState

OLD, NEW = Build("0.1.0", 1, 1), Build("0.2.0", 1, 2)


class Rig:
    """A leader's level over a machine; what it proposes is applied at once, unless `answer`."""

    def __init__(self, *builds: Build | None) -> None:
        self.machine = Machine(MemoryView(), 9)
        self.builds = {f"n{number}": build for number, build in enumerate(builds, 1)}
        self.level = FeatureLevel(lambda: self.machine, lambda: self.builds, self.propose)
        self.proposed: list[int] = []
        self.delivered: list[Any] = []
        self.answer: Refusal | None = None
        self.held: list[Any] = []  # with `holding`: what waits for its entry
        self.holding = False

    def propose(self, command: RaiseLevel, sink: Any, tag: Any) -> None:
        self.proposed.append(command.level)
        if self.holding:
            self.held.append((sink, tag))
            return
        result: Any = self.answer
        if result is None:
            (result,) = self.machine.apply(encode_entry(0, 0, [command], command.level)).results
        sink.deliver(tag, result)

    def deliver(self, tag: Any, value: Any) -> None:
        assert tag == "tag"
        self.delivered.append(value)

    def raise_to(self, level: int) -> Any:
        self.level.raise_to(level, self, "tag")
        return self.delivered.pop()


def test_it_is_raised_to_what_all_can() -> None:
    rig = Rig(NEW, NEW, Build("0.3.0", 1, 3))
    assert highest_common(rig.builds) == 2
    assert rig.raise_to(0) == (1, 2)
    assert rig.machine.level == 2
    assert rig.raise_to(0) == (2, 2), "the same again is fine"
    assert rig.raise_to(2) == (2, 2)
    assert rig.proposed == [2]


@pytest.mark.parametrize(
    ("builds", "level", "why"),
    [
        ((NEW, OLD, NEW), 2, "stays at 1: n2 is taskq 0.1.0, which runs feature level 1"),
        ((NEW, None, NEW), 2, "stays at 1: n2 cannot be asked now, and may be of a version"),
        ((NEW, None, None), 0, "stays at 1: n2, n3 cannot be asked now"),
        ((NEW, NEW, NEW), 3, "n1 is taskq 0.2.0, which runs feature level 1 to 2; n2 is"),
        ((Build("9", 3, 9),), 2, "stays at 1: n1 is taskq 9, which runs feature level 3 to 9"),
    ],
)
def test_it_is_refused_while_one_cannot(
    builds: tuple[Build | None, ...], level: int, why: str
) -> None:
    rig = Rig(*builds)
    refusal = rig.raise_to(level)
    assert refusal.code == ErrorCode.WRONG_STATE
    assert why in refusal.message
    assert rig.proposed == []


def test_no_node_begins_to_be_added_while_it_is_raised() -> None:
    """Nobody would ask what it runs."""
    rig = Rig(NEW)
    assert rig.level.under_way() is None
    rig.holding = True
    rig.level.raise_to(2, rig, "tag")
    refusal = rig.level.under_way()
    assert refusal is not None
    assert refusal.code == ErrorCode.UNAVAILABLE
    ((sink, tag),) = rig.held
    sink.deliver(tag, refuse(ErrorCode.NO_LEADER, "this node leads no more"))
    assert rig.level.under_way() is None
    rig.level.leads(FIRST_NO_OP, 100.0)
    rig.level.raise_to(2, rig, "tag")
    for sink, tag in rig.held[1:]:
        assert rig.level.under_way() is not None
        sink.deliver(tag, None)
    assert rig.level.under_way() is None


def test_who_is_to_be_added_is_asked_as_a_member_is() -> None:
    replica: Any = SimpleNamespace(
        node_id="n1", build=NEW, members=lambda: [("n1", ""), ("n2", "")]
    )
    links = SimpleNamespace(builds={"n2": NEW, "n3": OLD, "n5": OLD})
    membership: Any = SimpleNamespace(links=links, learners={"n3": "n3:1", "n4": "n4:1"})
    asked = builds(replica, membership)
    assert asked == {"n1": NEW, "n2": NEW, "n3": OLD, "n4": None}


def test_a_node_is_fit_for_a_level_once_it_said_so() -> None:
    told = {"n2": NEW, "n3": OLD}
    assert unfit("n2", 2, told) == ""
    assert unfit("n4", 2, told) is None
    why = unfit("n3", 2, told)
    assert why is not None
    assert "n3 is taskq 0.1.0, which runs feature level 1, and the cluster is at 2" in why


def test_with_old_members_nothing_is_to_do() -> None:
    assert Rig(OLD, NEW, OLD).raise_to(0) == (1, 1)


def test_it_is_never_lowered() -> None:
    rig = Rig(NEW)
    rig.raise_to(2)
    assert "stays at 2: a level is never lowered (to 1)" in rig.raise_to(1).message


def test_what_became_of_the_entry_is_handed_on() -> None:
    rig = Rig(NEW)
    rig.answer = refuse(ErrorCode.NO_LEADER, "this node leads no more")
    assert rig.raise_to(2) == rig.answer


def test_a_new_cluster_is_founded_at_the_highest_level() -> None:
    rig = Rig(NEW, NEW)
    rig.level.leads(FIRST_NO_OP, 100.0)
    rig.level.look(100.5)
    assert rig.proposed == [2]


def test_its_first_leader_waits_for_word_from_all_but_not_for_ever() -> None:
    rig = Rig(NEW, None)
    rig.level.leads(FIRST_NO_OP, 100.0)
    rig.level.look(100.5)
    assert rig.proposed == []
    rig.builds["n2"] = NEW
    rig.level.look(101.0)
    assert rig.proposed == [2]
    late = Rig(NEW, None)
    late.level.leads(FIRST_NO_OP, 100.0)
    late.builds["n2"] = NEW
    late.level.look(100.0 + FOUNDING_SECS)
    assert late.proposed == [], "from here on an operator says so"


def test_a_later_leader_leaves_it_alone_though_nothing_was_ever_done() -> None:
    """Else an idle cluster would be raised while it is rolled, and could not go back."""
    rig = Rig(NEW, NEW)
    rig.level.leads(FIRST_NO_OP + 1, 100.0)
    rig.level.look(100.5)
    assert rig.proposed == []


def test_who_leads_no_more_proposes_nothing() -> None:
    rig = Rig(NEW, None)
    rig.level.leads(FIRST_NO_OP, 100.0)
    rig.level.leads(0, 100.2)
    rig.builds["n2"] = NEW
    rig.level.look(100.5)
    assert rig.proposed == []


def test_a_version_refuses_what_it_cannot_run() -> None:
    refuse_state(NEW, 2)
    with pytest.raises(OtherVersionNeeded, match="start a version that runs level 2") as caught:
        refuse_state(OLD, 2)
    assert "this is taskq 0.1.0, which runs feature level 1" in str(caught.value)
    with pytest.raises(OtherVersionNeeded, match=r"level 1, and this is taskq 9, .* 2 to 3"):
        refuse_state(Build("9", 2, 3), 1)
    refuse_cluster(NEW, 2, "n1", NEW)
    refuse_cluster(Build("9", 2, 3), 1, "n1", OLD)  # n1 may be behind
    with pytest.raises(OtherVersionNeeded, match=r"at feature level 2 \(says n1, taskq 0.2.0\)"):
        refuse_cluster(OLD, 2, "n1", NEW)


def test_a_command_is_not_proposed_before_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older member could not apply it."""
    assert too_early(ResumeQueue("q"), 1) is None
    monkeypatch.setitem(LATER, ResumeQueue, 2)
    refusal = too_early(ResumeQueue("q"), 1)
    assert refusal is not None
    assert refusal.code == ErrorCode.UNKNOWN_MESSAGE
    assert "ResumeQueue comes with feature level 2, and the cluster is at 1" in refusal.message
    assert too_early(ResumeQueue("q"), 2) is None


def test_a_state_of_a_later_level_is_refused_and_left_as_it_is() -> None:
    disk = Disk()
    disk.state.put(keys.CLOCKS, pack(0, 0, 0, 0, [], keys.FIRST_PLACE, 0))
    disk.state.put(keys.LEVEL, pack(LEVEL_MAX + 1))
    before = dict(disk.state.values)
    store: Any = MemoryState(disk)
    why = f"level {LEVEL_MAX + 1}, and this is taskq .* start a version that runs level"
    with pytest.raises(OtherVersionNeeded, match=why):
        Applier(store)
    assert disk.state.values == before


def test_an_entry_of_a_later_level_stops_the_applier_before_it() -> None:
    store: Any = MemoryState(Disk())
    applier = Applier(store)
    applier.applied(2, 1, applier.apply(encode_entry(5, 5, [])))
    later = encode_entry(6, 6, [RaiseLevel(LEVEL_MAX + 1)], LEVEL_MAX + 1)
    with pytest.raises(OtherVersionNeeded, match="entry 3 of the log cannot be applied by taskq"):
        applier.apply(later)
    assert applier.index == 2
    assert (applier.machine.elapsed_ms, applier.machine.level) == (5, 1)
