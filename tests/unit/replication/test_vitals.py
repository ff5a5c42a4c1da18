"""What real members of a group tell of themselves, judged as the probes do: only who is stuck is
wedged, and nobody for want of a majority."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.replication.progress import Stage
from cluster.replication.vitals import vitals
from cluster.server import stillness
from cluster.server.readiness import Readiness
from cluster.server.stillness import Stillness
from cluster.storage.recovery import Recovery
from cluster.vitals import Vitals
from tests.unit.replication.group_rig import Group
from tests.unit.replication.rig import Rig

LIMIT_SECS = 10.0


def told(node: Rig, recovery: Recovery | None = None) -> Vitals:
    """As the node's Replica has it read."""
    core: Any = node
    replica: Any = SimpleNamespace(
        unavailable=lambda: None, leader=node.driver.leader, is_leader=lambda: node.raft.is_leader
    )
    return vitals(replica, core, recovery or Recovery())


def verdicts(group: Group, secs: float = 40.0) -> dict[str, str]:
    """Node -> what is wrong with it after so long, of those that are up."""
    judges = {one: Stillness(LIMIT_SECS) for one in group.ids if one not in group.down}
    found: dict[str, str] = {}
    for _ in range(int(secs / 0.5)):
        group.tick(0.5, steps=2)
        for one, judge in judges.items():
            judge.look(told(group[one]), group.loop.now)
            found[one] = judge.wedged().partition(", for")[0]
    return found


def alive(group: Group) -> dict[str, str]:
    return {one: "" for one in group.ids if one not in group.down}


def test_an_idle_group_lives(group: Group) -> None:
    group.elect("n1")
    assert verdicts(group) == alive(group)


def test_the_part_without_a_majority_lives(group: Group) -> None:
    group.elect("n1")
    group.isolate("n1")
    group["n1"].submit(1)
    assert verdicts(group) == alive(group)
    group.crash("n2")
    assert verdicts(group) == alive(group)


def test_one_of_three_that_is_left_alone_lives(group: Group) -> None:
    group.elect("n1")
    group.crash("n2")
    group.crash("n3")
    group["n1"].submit(1)
    assert verdicts(group) == alive(group)


def test_a_follower_whose_disk_hangs_is_wedged_and_the_others_are_not(group: Group) -> None:
    group.elect("n1")
    group.slow.add("n3")
    group.submit("n1", [1, 2, 3])
    assert verdicts(group) == {"n1": "", "n2": "", "n3": stillness.LOG}
    group.slow.clear()
    assert verdicts(group, 1.0) == alive(group)


def test_a_leader_whose_disk_hangs_is_wedged_though_another_leads_now(group: Group) -> None:
    group.elect("n1")
    group.slow.add("n1")
    group.submit("n1", [1])
    assert verdicts(group) == {"n1": stillness.LOG, "n2": "", "n3": ""}
    assert group.leaders() != ["n1"]


def test_a_leader_of_a_majority_that_takes_nothing_is_wedged(group: Group) -> None:
    group.elect("n1")
    group.slow |= {"n2", "n3"}
    group.submit("n1", [1])
    wedged = {"n1": stillness.ENTRIES, "n2": stillness.LOG, "n3": stillness.LOG}
    assert verdicts(group) == wedged


def test_a_leader_lives_while_the_majority_is_being_given_the_state(group: Group) -> None:
    """A9, A11: whoever it needs answers heartbeats, and takes no entries yet."""
    leader = group.elect("n1")
    group.crash("n3")
    assert leader.consensus.leading is not None
    leader.consensus.leading.peers["n2"].stage = Stage.SNAPSHOT
    group.submit("n1", [1])
    assert verdicts(group) == alive(group)
    assert leader.raft.last_index > leader.raft.commit_index


def test_who_does_not_apply_what_is_committed_is_wedged(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.elect("n1")
    monkeypatch.setattr(group["n2"].raft, "_SyncObj__applyLogEntries", lambda: False)
    group.submit("n1", [1, 2])
    assert verdicts(group) == {"n1": "", "n2": stillness.ENTRIES, "n3": ""}


def test_a_driver_that_does_not_turn_is_wedged(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.elect("n1")
    monkeypatch.setattr(group["n3"].driver, "wake", lambda: None)
    assert verdicts(group) == {"n1": "", "n2": "", "n3": stillness.DRIVER}


def test_a_follower_that_is_behind_is_not_ready(group: Group) -> None:
    group.elect("n1")
    group.slow.add("n3")
    group.submit("n1", range(1, 8))
    group.tick(1, steps=4)
    found = told(group["n3"])
    assert (found.target, found.applied) == (9, 2)
    group.slow.clear()
    group.tick(2, steps=8)
    found = told(group["n3"])
    assert (found.target, found.applied, found.leader) == (9, 9, "n1")
    judge = Readiness()
    for _ in range(8):
        group.tick(0.5)
        judge.look(told(group["n3"]), "", group.loop.now)
    assert judge.lacking() == ""


def test_recovery_counts_what_was_committed_at_the_start(rig: Rig) -> None:
    for tag in range(1, 6):
        rig.submit(tag)
        rig.settled()
    rig.crash()
    folder = Recovery()
    assert str(folder) == "opening the data folder"
    folder.begin("examining the log", 7)
    folder.done = 3
    assert str(folder) == "examining the log: 3 of 7 entries"
    found = told(rig, folder).recovery
    behind = rig.raft.commit_index - rig.raft.applied_index
    assert behind > 0
    assert found == f"replaying the log: 0 of {behind} entries"
    rig.lead()
    rig.settled()
    assert told(rig, folder).recovery == ""
    folder.begin("examining the log", 7)  # opened again, after its disk failed
    assert str(folder) == ""
