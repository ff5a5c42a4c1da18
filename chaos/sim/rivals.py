"""The hunt for a vote that is forgotten: see `Rivals`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.sim.hunts import Hunts
    from chaos.sim.machine import Machine
    from chaos.sim.process import Process

# It gives up after so long. Seconds.
PATIENCE_SECS = 2.5


class Rivals:
    """Two stand in the same term, and the disk of one hangs, so that it asks for votes late; the
    third, whose log is shorter, votes for the other one and crashes before. With `damage`, the
    batch that holds the vote goes bad, too."""

    def __init__(
        self, hunts: Hunts, voter: Machine, slow: Machine, quick: Machine, *, damage: bool
    ) -> None:
        self._hunts = hunts
        self._world = hunts.world
        self._fabric = hunts.fabric
        self._voter, self._slow, self._quick = voter, slow, quick
        self._damage = damage
        self._hung: Process | None = None  # the slow one's, while its disk hangs
        self._term = 0
        self._end = self._world.now + PATIENCE_SECS

    def begin(self, leader: Machine) -> None:
        """The voter's log falls behind."""
        assert leader.process is not None
        self._hunts.cut([self._voter], [self._slow, self._quick], back=True)
        leader.process.burden(10)
        self._world.after(0.25, self._depose, leader)
        self._world.after(PATIENCE_SECS + 0.7, self._mend)

    def _depose(self, leader: Machine) -> None:
        voter, slow, quick = self._voter, self._slow, self._quick
        self._term = leader.process.core.raft.term if leader.process and leader.process.core else 0
        leader.kill()
        leader.boot_later(0.02)
        self._hunts.cut([slow], [quick], back=True)
        self._hunts.heal([voter], [slow])
        self._fabric.heal(voter.name, quick.name, quickly=True)
        slow.until(self._stood)

    def _stood(self, process: Process) -> bool:
        """The slow one became a candidate, or it is too late."""
        core = process.core
        late = self._world.now > self._end
        if core is None or core.raft.term <= self._term or late:
            return late
        if core.raft.vote == self._slow.name:
            process.hang_disk()
            self._hung = process
            self._world.at(self._world.now, self._hunts.heal, [self._quick], [self._voter])
            self._voter.until(self._voted)
        return True

    def _voted(self, process: Process) -> bool:
        """The vote is on disk, and told."""
        core = process.core
        late = self._world.now > self._end
        if core is None or core.log.term <= self._term or late:
            return late
        if core.log.vote != self._quick.name or not core.consensus.post.clear:
            return False
        self._world.at(self._world.now, self._strike)
        return True

    def _strike(self) -> None:
        voter, quick = self._voter, self._quick
        self._world.note("rival voted for", quick.name)
        # What the winner says does not arrive.
        self._fabric.cut(quick.name, voter.name)
        voter.kill()
        if self._damage and self._hunts.may_lose(voter):
            voter.disk.damage("log-end")
        voter.boot_later(0.001)
        self._hunts.when(self._linked, self._release, PATIENCE_SECS / 2)

    def _linked(self) -> bool:
        voter, hung = self._voter, self._hung
        if hung is None or voter.process is None or voter.process.core is None:
            return False
        return all(voter.name in network.connected() for network in hung.networks)

    def _release(self) -> None:
        hung, self._hung = self._hung, None
        if hung is not None:
            hung.release_disk()

    def _mend(self) -> None:
        self._release()
        self._hunts.mend()
