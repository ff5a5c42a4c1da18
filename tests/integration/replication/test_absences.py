"""What members say of each other's absence: founding, restart and stop are no cause for alarm."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.replication.peers import absences
from cluster.replication.replica import Replica
from tests.integration.replication.group import members, until


def both_ways(replica: Replica) -> bool:
    """Whether it is connected with both others in both directions."""
    assert replica._membership is not None
    network = replica._membership.links._network
    return len(network.connected()) == len(network.heard_from()) == 2


async def test_nothing_is_wrong_while_members_come_and_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        await group.stop("n3")
        await group.start("n3")
        await group.submit(2)
        await group.all_hold(1, 2)
    said = capsys.readouterr().out
    assert "warning" not in said
    assert "a member is away" in said


async def test_who_stays_away_is_told_until_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        monkeypatch.setattr(absences, "STAYS_AWAY_SECS", 0.1)
        await group.stop("n1", "n2")
        capsys.readouterr()
        said = ""

        def heard(text: str, member: str) -> bool:
            nonlocal said
            said += capsys.readouterr().out
            return any(text in line and f"member={member}" in line for line in said.splitlines())

        await until(lambda: heard("a member stays away", "n1"))
        await until(lambda: heard("a member stays away", "n2"))
        await group.start("n1")
        await until(lambda: heard("a member is back", "n1"))
        assert not heard("a member is back", "n2")
        await group.start("n2")
        await group.all_hold(1)


async def test_a_node_that_stops_says_nothing_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        await until(lambda: all(both_ways(one) for one in group.replicas.values()))
        capsys.readouterr()
        await group.stop("n3")
        said = ""

        def heard() -> bool:
            nonlocal said
            said += capsys.readouterr().out
            return said.count("member=n3") == 2

        await until(heard)
        assert said.count("a member is away") == 2, "what the others say of n3"
