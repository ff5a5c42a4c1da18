"""Dangerous moments of changes of members (A10): a leader that does not know yet that it is alone.

In each of them a change may not be committed, and what the leader is told meanwhile may not be
acknowledged, for the others elect a leader of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.sim.rivals import PATIENCE_SECS
from taskq.commands import AddMember, RemoveMember

if TYPE_CHECKING:
    from chaos.sim.hunts import Hunts
    from chaos.sim.machine import Machine

# What a leader is told in the moment. Commands, each in an entry of its own.
TOLD = 10
# Between two acts: messages are there, and a leader cut off has not noticed.
MOMENT_SECS = 0.05


class MemberHunts:
    """On the machines of a run."""

    def __init__(self, hunts: Hunts) -> None:
        self._hunts = hunts
        self._world = hunts.world

    def _act(self, leader: Machine, act: Any, *arguments: Any) -> None:
        """On the node's own loop, if it still leads."""
        if leader.process is not None and leader.leads:
            leader.process.loop.call_soon(act, *arguments)

    def _mend_later(self) -> bool:
        self._world.after(PATIENCE_SECS, self._hunts.mend)
        return True

    def rush(self, leader: Machine, others: list[Machine]) -> bool:
        """It is cut off with one of four followers, and told to remove the others, all at once."""
        replica = leader.replica
        if not leader.leads or len(replica.members()) != 5:
            return False
        members = [one for one in others if one.name in dict(replica.members())]
        near, *far = members
        self._hunts.cut([leader, near], [one for one in others if one is not near], back=True)
        self._world.note("rush", leader.name)
        for place, one in enumerate(far):
            moment = MOMENT_SECS * place
            self._world.after(
                moment, self._act, leader, replica.change_members, RemoveMember(one.name)
            )
        return self._mend_later()

    def stranger(self, leader: Machine, others: list[Machine]) -> bool:
        """It is cut off with a node that is being added, which holds all that it is told."""
        replica, hunts = leader.replica, self._hunts
        if not leader.leads:
            return False
        known = dict(replica.members())
        spare = next((one for one in others if one.name not in known), None)
        if spare is None:
            return False
        self._act(leader, replica.change_members, AddMember(spare.name, spare.members[spare.name]))

        def followed() -> bool:
            core = None if leader.process is None else leader.process.core
            leading = None if core is None else core.consensus.leading
            peer = None if leading is None else leading.peers.get(spare.name)
            return peer is not None and peer.match > 0

        def strike() -> None:
            self._world.note("stranger", leader.name)
            hunts.cut([leader, spare], [one for one in others if one is not spare], back=True)
            if leader.process is not None:
                leader.process.burden(TOLD)

        hunts.when(followed, strike, PATIENCE_SECS)
        return self._mend_later()

    def leaving(self, leader: Machine, others: list[Machine]) -> bool:
        """It takes itself out and does not hear the others' answers; what it is told then reaches
        one follower only, and the others are a majority without both."""
        hunts = self._hunts
        process = leader.process
        core = None if process is None else process.core
        if process is None or core is None or not leader.leads:
            return False
        if len(leader.replica.members()) != 4:
            return False
        _, *far = [one for one in others if one.name in dict(leader.replica.members())]
        hunts.cut(far, [leader], back=False)
        consensus = core.consensus

        def take_out() -> None:
            if consensus.leading is not None and core.raft.members_settled:
                self._world.note("leaving", leader.name)
                process.asked(core.raft.term, RemoveMember(leader.name))
                consensus.changes._take_out(leader.name, consensus.leading, process.loop.time())
                core.driver.wake()

        def strike() -> None:
            hunts.cut([leader], far, back=False)
            if leader.process is not None:
                leader.process.burden(TOLD)

        self._act(leader, take_out)
        self._world.after(MOMENT_SECS, strike)
        return self._mend_later()

    def departing(self, leader: Machine, others: list[Machine]) -> bool:
        """It is asked to leave, hands over, and hears of nobody who leads until it has given up;
        then it may lead again, and nobody asks any more."""
        replica, hunts = leader.replica, self._hunts
        if not leader.leads or len(replica.members()) < 3:
            return False
        self._act(leader, replica.change_members, RemoveMember(leader.name))

        def strike() -> None:
            self._world.note("departing", leader.name)
            hunts.cut([leader], others, back=True)
            self._mend_later()

        hunts.when(lambda: not leader.leads, strike, PATIENCE_SECS)
        return True
